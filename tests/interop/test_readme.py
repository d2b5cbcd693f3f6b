"""The program in README.md, word for word but for the port."""
import pathlib
import re
import subprocess
import sys


def test_first_message(hub, folder):
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    program, = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert program.count("127.0.0.1:46357") == 1
    (folder / "hello.py").write_text(program.replace("127.0.0.1:46357", hub.endpoints[0]))
    done = subprocess.run([sys.executable, str(folder / "hello.py")], capture_output=True, text=True, timeout=60)
    assert "b'hello bob'" in done.stdout.splitlines(), done.stdout + done.stderr
