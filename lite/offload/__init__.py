"""Jobs that go where they can run: what nodes say to each other about them, and the node that does
them for others.

    wire       the paths, and each request and reply as a value with one canonical form
    client     the customer's end of the wire
"""
