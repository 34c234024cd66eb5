"""The live world: a server with a page on which a person flies through a clip while it is generated."""
