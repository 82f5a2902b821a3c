"""What a step needs, what a node has, whether the one fits the other, and whom to choose.

Values and pure functions: nothing here reads a clock, a store or the machine (`lite.capabilities`
measures it).

    requirements   what a step asks for: by `meta.requires`, and by what it is
    required_form  the same as it is sent to providers
    capabilities   what a node has, and the signed record in which it says so
    fit            whether a node can run a step, and why not
    bids, choice   what a provider offers for a step, and in which order to take them
"""
