"""Memory that tensors free stays with the process, unless the user chose otherwise."""
import subprocess
import sys

import pytest
from harness import environment

# a tensor of 200 MB is made, freed and made again: the page faults of the second time
SCRIPT = """
import resource, torch
from mmmim.engine.host_memory import keep_freed_memory
print(keep_freed_memory())
torch.ones(50_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(50_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(**variables):
    done = subprocess.run([sys.executable, '-c', SCRIPT], env=environment(**variables), capture_output=True, text=True,
                          check=True, timeout=120)
    kept, faults = done.stdout.split()
    return kept == 'True', int(faults)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='malloc of glibc')
def test_freed_memory_is_used_again_without_page_faults():
    kept, faults = run()
    assert kept and faults < 500


@pytest.mark.parametrize('name, value', [('MMMIM_KEEP_MEMORY', '0'), ('MALLOC_TRIM_THRESHOLD_', '131072'),
                                         ('GLIBC_TUNABLES', 'glibc.malloc.trim_threshold=131072')])
def test_what_the_user_chose_stays(name, value):
    kept, faults = run(**{name: value})
    assert not kept and faults > 10_000
