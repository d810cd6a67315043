"""Our paths beside the alternatives: the same weights and label maps, each in a process of its own, in turn."""
