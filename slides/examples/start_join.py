"""The first program of every lesson on multiprocessing."""
from multiprocessing import Process


#region: workers
def worker(number):
    print(f"Worker process {number} is running", flush=True)


def main():
    workers = [Process(target=worker, args=(i,)) for i in range(4)]
    for p in workers:
        p.start()
    for p in workers:
        p.join()
    print("All processes have completed")
#endregion


if __name__ == "__main__":
    main()
