"""The generator: dialogues written by grammars of our own."""
