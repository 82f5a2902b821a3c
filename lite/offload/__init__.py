"""Jobs that go where they can run: the customer's side, the provider's, and what they say to each
other.

    wire          the paths, and each request and reply as a value with one canonical form
    client        the customer's end of the wire; plain_http: the same without a channel
    refused       why a provider does not do a job: codes, and the signed statement
    terms, offers what a provider lets whom do
    admission     which jobs it takes in; bidding: what it would take
    provider      takes turns among customers, runs jobs in threads (doing), tells how they stand
    contracting   passes a job on that lacks something here
    desk          answers peers; http_door: clients of UCAN that are no peers; by_letter: letters
    dispatch      takes what waits in the outbox to providers, and their answers back
    clerk         the books of that; settling keeps answers; court, referee: those that differ
    ways          how a provider is reached: lines (channels); post_line, posted (plain HTTP)
    accounts      what was used at each provider
    unsaid        what was taken in and is not durable yet, so not told of; pace: how long
"""
