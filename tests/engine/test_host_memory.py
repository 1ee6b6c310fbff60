"""Memory that tensors free stays with the process, unless the user chose otherwise."""

import os
import subprocess
import sys

import pytest
from harness import environment

# A tensor of 200 MB is made and freed: how much of it the process still holds; made again, three times: the least page
# faults of that (the other threads of the process have some of their own).
SCRIPT = """
import os, resource, torch
from mmmim.engine.hardware import keep_freed_memory

def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6

print(keep_freed_memory())
torch.ones(1000)
before = resident()
torch.ones(50_000_000)
print(resident() - before)
faults = []
for _ in range(3):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(50_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
print(min(faults))
"""
pytestmark = [
    pytest.mark.runs,
    pytest.mark.skipif(not sys.platform.startswith('linux'), reason='malloc of glibc'),
]


def run(**variables):
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    done_by_us, held, faults = done.stdout.split()
    return done_by_us == 'True', float(held), int(faults)


def test_freed_memory_is_used_again_without_page_faults():
    done_by_us, held, faults = run()
    assert done_by_us and held > 150
    assert faults < 0.02 * 50_000_000 * 4 / os.sysconf('SC_PAGE_SIZE')  # new memory: a fault for each page


# where the system grants large pages to everyone, giving memory back costs few faults: so not they are counted here
@pytest.mark.parametrize(
    'name, value',
    [
        ('MMMIM_KEEP_MEMORY', '0'),
        ('MALLOC_TRIM_THRESHOLD_', '131072'),
        ('GLIBC_TUNABLES', 'glibc.malloc.trim_threshold=131072'),
    ],
)
def test_what_the_user_chose_stays(name, value):
    done_by_us, held, _ = run(**{name: value})
    assert not done_by_us and held < 50
