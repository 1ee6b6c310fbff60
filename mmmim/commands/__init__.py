"""The commands of `mmmim`, one per file: each has ``main(argv)``, with the arguments after its name."""
