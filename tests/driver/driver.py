"""The official driver against the embedded superserver: calls, element types, size, output, errors.

    driver.py PORT [SSLCONFIG]

With SSLCONFIG, ISC_SSLconfigurations names the settings file that holds it. Prints `driver: N checks` at the end.
"""

import decimal
import os
import sys
import tempfile

import iris

port = int(sys.argv[1])
tls = {"sslconfig": sys.argv[2]} if len(sys.argv) > 2 else {}
checks = 0


def connect(user="alice", password="secret"):
    return iris.connect("127.0.0.1", port, "USER", user, password, sharedmemory=False, **tls)


def check(what, got, wanted):
    global checks
    if got != wanted or type(got) is not type(wanted):
        sys.exit(f"{what}: got {got!r}, wanted {wanted!r}")
    checks += 1


def output_of(call):
    """What the driver prints while it makes a call; it writes to the descriptor, not to sys.stdout."""
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        before = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            result = call()
        finally:
            sys.stdout.flush()
            os.dup2(before, 1)
            os.close(before)
        file.seek(0)
        return result, file.read()


def refused(what, call, word):
    global checks
    try:
        result = call()
    except Exception as error:  # the driver's own kinds differ by release
        if word not in str(error):
            sys.exit(f"{what}: the reason is {error!r}, which does not say {word!r}")
        checks += 1
    else:
        sys.exit(f"{what}: not refused, gave {result!r}")


connection = connect()
test = iris.createIRIS(connection)

for value in [0, 1, -1, 127, 128, 255, 256, -256, -257, 2**31, 2**63 - 1, -(2**63), 1.5, 0.1, -0.25, "hello", "é", "ł",
              "\N{PERSONAL COMPUTER}", "line\r\nbreak\0nul"]:
    check(f"Echo({value!r})", test.classMethodValue("Test", "Echo", value), value)
for value in [decimal.Decimal("1.5"), decimal.Decimal("-0.001"), decimal.Decimal("1E+10")]:
    check(f"Echo({value!r})", decimal.Decimal(str(test.classMethodValue("Test", "Echo", value))), value)
check("Echo(True)", test.classMethodBoolean("Test", "Echo", True), True)
check("Echo(None)", test.classMethodValue("Test", "Echo", None) in (None, ""), True)
check("Echo(bytes)", test.classMethodBytes("Test", "Echo", bytes(range(256))), bytes(range(256)))
elements = iris.IRISList()
elements.add("one")
elements.add(2)
check("Echo(list)", test.classMethodIRISList("Test", "Echo", elements).get(2), 2)
for length in [252, 253, 254, 65533, 65534, 65535, 100_000]:
    data = bytes(k % 251 for k in range(length))
    check(f"Echo({length} bytes)", test.classMethodBytes("Test", "Echo", data), data)
check("Len", test.classMethodValue("Test", "Len", b"x" * 100_000), 100_000)
check("Big", test.classMethodBytes("Test", "Big", 100_000), bytes(k % 256 for k in range(100_000)))
check("Nothing", test.classMethodValue("Test", "Nothing", 1, 2) in (None, ""), True)
test.classMethodVoid("Test", "Nothing")

first, plain, second = iris.IRISReference("a"), "b", iris.IRISReference(7)
check("ByRef", test.classMethodValue("Test", "ByRef", first, plain, second), "ret")
check("by-reference 0", first.getValue(), "new-0")
check("by-reference 1", second.getValue(), "new-1")

result, written = output_of(lambda: test.classMethodValue("Test", "Write", "one ", "two", 3))
check("Write", result, 1)
check("redirected output", written, b"one two3")

refused("Error", lambda: test.classMethodValue("Test", "Error"), "DIVIDE")
check("after an error", test.classMethodValue("Test", "Echo", "still here"), "still here")
check("UserName", test.classMethodString("%SYSTEM.Process", "UserName").lower(), "alice")
refused("another class", lambda: test.classMethodValue("Not.There", "Method"), "Not.There")
connection.close()

refused("wrong password", lambda: connect(password="wrong"), "Access Denied")
refused("no password, certificate or not", lambda: connect("", ""), "Access Denied")

print(f"driver: {checks} checks")
