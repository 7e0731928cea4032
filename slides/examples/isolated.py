"""A process changes a variable; then a thread does. Who sees it?"""
from multiprocessing import Process
from threading import Thread

x = 1


#region: work
def work():
    global x
    x = 2


def main():
    process = Process(target=work)
    process.start()
    process.join()
    print("after the process: x =", x)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    print("after the thread:  x =", x)
#endregion


if __name__ == "__main__":
    main()
