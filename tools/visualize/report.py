"""Make one HTML page of one or more runs: pictures, curves, measurements, settings, how to go on.

    python tools/visualize/report.py DIR [DIR ...] [--out FILE.html] [--title TEXT]

DIR is a work dir, of pre-training or of a segmentor or detector. The page needs no network and no other file. By
default it is DIR/report.html for one run, and report.html in the current folder for several, which are shown side by
side. Dense tasks that the quickstart trained below DIR are shown with it.
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dirs', nargs='+', metavar='DIR', help='work dir of a run')
    parser.add_argument('--out', help='the file to write, or a folder for report.html')
    parser.add_argument('--title', help='of the page (default: the names of the runs)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmmim.engine.launch import USER_ERRORS, end_with
    from mmmim.report.page import write_report

    try:
        print(write_report(args.dirs, args.out, args.title))
    except USER_ERRORS as error:
        end_with(error, None)


if __name__ == '__main__':
    main()
