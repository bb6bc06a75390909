"""One file a paper: what is run, and the rules by which its claims are judged."""
