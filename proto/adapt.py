#!/usr/bin/env python3
"""Rewrites a proto3 file so that protoc-c 1.4 takes it and its code is exact, without changing the wire.

optional T x = n;  becomes  oneof _x { T x = n; }   (protoc-c refuses the keyword)
string x = n;      becomes  bytes x = n;            (protobuf-c cuts strings at NUL; UTF-8 is checked before)
"""
import re
import sys


def adapt(text):
    out = []
    for line in text.splitlines():
        if m := re.match(r"(\s*)optional\s+(\S+)\s+(\w+)(\s*=\s*\d+\s*;.*)$", line):
            kind = "bytes" if m.group(2) == "string" else m.group(2)
            line = f"{m.group(1)}oneof _{m.group(3)} {{ {kind} {m.group(3)}{m.group(4)} }}"
        else:
            line = re.sub(r"^(\s*)string(\s+\w+\s*=)", r"\1bytes\2", line)
        out.append(line)
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1]) as source, open(sys.argv[2], "w") as target:
        target.write(adapt(source.read()))
