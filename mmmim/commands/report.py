"""Make one HTML page of one or more runs: pictures, curves, measurements, settings, how to go on.

    mmmim report DIR [DIR ...] [--out FILE.html] [--title TEXT]

DIR is a work dir, of pre-training or of a segmentor or detector. The page needs no network and no other file. By
default it is DIR/report.html for one run, and report.html in the current folder for several, which are shown side by
side. Dense tasks that the quickstart trained below DIR are shown with it.
"""

import argparse
from typing import List

from ..report.page import write_report


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='mmmim report', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dirs', nargs='+', metavar='DIR', help='work dir of a run')
    parser.add_argument('--out', help='the file to write, or a folder for report.html')
    parser.add_argument('--title', help='of the page (default: the names of the runs)')
    return parser.parse_args(argv)


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    print(write_report(args.dirs, args.out, args.title))
