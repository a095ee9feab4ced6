"""A retriever as a server in the protocol of Search-R1: other programs can search what a spec names."""
