"""A client to be started inside a rack: it keeps one TCP connection and times round trips on it.

    python rack_client.py HOST PORT

For each line on its standard input it sends a byte and waits for the echo, a second at most; then
it prints how long that took in s, or `nothing`. One that came too late is skipped.
"""

import socket
import sys
import time


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


host, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((host, port), timeout=1) as connection:
    say("connected")
    number = 0
    for _ in sys.stdin:
        number = (number + 1) % 256
        began = time.monotonic()
        connection.settimeout(1)
        answer = "nothing"
        try:
            connection.sendall(bytes([number]))
            while echo := connection.recv(1):
                if echo[0] == number:
                    answer = str(time.monotonic() - began)
                    break
        except TimeoutError:
            pass
        except OSError as error:
            answer = repr(error)
        say(answer)
