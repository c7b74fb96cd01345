"""Networks of published families, one file a family: each builds the network that its published weights belong to."""
