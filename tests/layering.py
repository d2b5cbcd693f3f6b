#!/usr/bin/env python3
"""Fails when a folder includes what the dependency table (docs/architecture.md) does not allow, or a file is over 800 lines."""
import pathlib
import re
import sys

ALLOWED = {
    "src/core": {"core"},
    "src/auth": {"auth", "core", "proto"},
    "src/io": {"io", "core"},
    "src/config": {"config", "core"},
    "src/node": {"node", "core", "proto", "auth", "io"},
    "src/bin": {"bin", "core", "auth", "io", "node", "config"},
    "bench": {"bench", "core", "proto", "auth", "io"},
}
# It times the steps of the node's own way.
ALLOWED_FILES = {"bench/micro.c": {"bench", "core", "auth", "node"}}
# Third-party headers and the folders that may see them.
THIRD_PARTY = {
    r"^ck_": {"src/core", "src/io", "src/node"},
    r"^openssl/": {"src/auth", "src/io"},
    r"^nghttp2/": {"src/io"},
    r"^liburing": {"src/io"},
    r"^yaml\.h": {"src/config"},
    r"^jemalloc/": {"src/bin"},
    r"^xxhash": {"src/core"},
    r"^protobuf-c": set(),
    r"^(sys/socket|netinet|sys/epoll|sys/un|netdb|arpa)": {"src/io", "src/bin", "bench"},
}
MAX_LINES = 800


def check(root):
    bad = []
    for path in sorted([*root.glob("src/*/*.[ch]"), *root.glob("bench/*.[ch]")]):
        folder = str(path.parent.relative_to(root))
        allowed = ALLOWED_FILES.get(str(path.relative_to(root)), ALLOWED.get(folder))
        if folder not in ALLOWED:
            bad.append(f"{path.relative_to(root)}: folder {folder} is not in the table")
            continue
        lines = path.read_text().splitlines()
        if len(lines) > MAX_LINES:
            bad.append(f"{path.relative_to(root)}: {len(lines)} lines, more than {MAX_LINES}")
        for number, line in enumerate(lines, 1):
            where = f"{path.relative_to(root)}:{number}"
            if m := re.match(r'\s*#\s*include\s+"([^"]+)"', line):
                target = m.group(1)
                top = "proto" if target.endswith(".pb-c.h") else target.split("/")[0]
                if top not in allowed:
                    bad.append(f'{where}: {folder} may not include "{target}"')
            elif m := re.match(r"\s*#\s*include\s+<([^>]+)>", line):
                for pattern, folders in THIRD_PARTY.items():
                    if re.match(pattern, m.group(1)) and folder not in folders:
                        bad.append(f"{where}: {folder} may not include <{m.group(1)}>")
    return bad


def main():
    bad = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    for line in bad:
        print(line)
    print(f"{'not ok' if bad else 'ok'} - layering")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
