"""Nothing is sent anywhere: training, using an encoder and the page of a run ask no other machine."""

import re
import socket

import pytest
from harness import make_config, train_here

import mmmim
from mmmim.report.page import write_report


@pytest.fixture
def asked(monkeypatch):
    """Addresses that were asked for while a test ran; none is reached."""
    found = []

    def refused(*arguments, **options):
        found.append(arguments)
        raise OSError('there is no network here')

    for name in ('connect', 'connect_ex'):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, 'getaddrinfo', refused)
    return found


@pytest.mark.runs
def test_a_run_from_its_start_to_its_page(asked, tmp_path, image_root):
    train_here(make_config(tmp_path / 'run', image_root, epochs=2))
    write_report([str(tmp_path / 'run')], str(tmp_path / 'report.html'))
    model = mmmim.load(str(tmp_path / 'run'))
    assert len(model.embed(sorted(map(str, image_root.rglob('*.*')))[:2])) == 2 and asked == []
    page = (tmp_path / 'report.html').read_text()
    assert re.findall(r'<(?:img|script|link|iframe|form)\b[^>]*\b(?:src|href|action)="(?:https?:)?//[^"]*"', page) == []


def test_a_connection_would_be_seen(asked):
    with pytest.raises(OSError):
        socket.create_connection(('example.org', 80))
    assert asked
