import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Models this small only lose by more threads, and twentyfold on a machine that is busy with other things."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
