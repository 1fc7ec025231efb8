"""A container's `sh`, as far as the proxy asks for one: it greets, becomes the command, and hangs it up. Or it lies."""

GREETING = b"k8s-ws-proxy: process %d 4711 42\r\n"
HONEST, LIAR = 100, 666
# What a command is called by whose shell says much and no word: when it should greet, or when it should hang up.
FLOODS_AT_GREETING, FLOODS_AT_HANG_UP = "floods-at-greeting", "floods-at-hang-up"


def understood(command: list[str]) -> tuple[bytes, list[str]]:
    """What the shell says at once, and what it becomes; without a shell, `command` as it is."""
    if command[:2] != ["sh", "-c"] or len(command) < 6:
        return b"", command
    script, arguments = command[2], command[4:]
    if "k8s-ws-proxy: process" not in script:
        return (b"", ["flood-of-words"]) if arguments[0] == str(LIAR) else (b"hung up\n", ["end"])
    wanted = arguments[1:]
    if wanted[0] == FLOODS_AT_GREETING:
        return b"", ["flood-of-words"]
    return GREETING % (LIAR if wanted[0] == FLOODS_AT_HANG_UP else HONEST), wanted
