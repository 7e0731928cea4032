#!/usr/bin/env python3
"""What becomes of a place whose worker dies inside: Python's Semaphore does
not know who has taken it, and nobody ever gives it back."""
import multiprocessing
import os
import signal


#region: die
def die_inside(semaphore):
    with semaphore:
        os.kill(os.getpid(), signal.SIGKILL)
#endregion


fork = multiprocessing.get_context("fork")
#region: main
semaphore = fork.Semaphore(2)
print("at first", semaphore.get_value(), "free")
for i in range(2):
    p = fork.Process(target=die_inside, args=(semaphore,))
    p.start()
    p.join()
    print("worker", i, "is dead,", semaphore.get_value(), "free")
if not semaphore.acquire(timeout=1):
    print("nobody is inside, and nobody gets in")
#endregion
