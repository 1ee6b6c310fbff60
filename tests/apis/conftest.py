"""Features that calls keep on the disk stay in a folder of the tests."""

import os

import pytest


@pytest.fixture(autouse=True, scope='module')
def own_cache(tmp_path_factory):
    before = os.environ.get('XDG_CACHE_HOME')
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))
    yield
    del os.environ['XDG_CACHE_HOME']
    if before is not None:
        os.environ['XDG_CACHE_HOME'] = before
