"""The commands of `mmmim`, one a file: each has ``main(argv)``, with the arguments behind its name."""
