"""A command line as words, held against what a real shell makes of it."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s_ws_proxy.wire.container.shell_split import Unfinished, split

# Parts of a line in which nothing can be expanded and nothing is an operator, so that a shell's words are only words.
PARTS = st.one_of(
    st.text("ab/-=.,%:@+é", min_size=1, max_size=4),
    st.text(" \t", min_size=1, max_size=3),  # an unquoted newline would begin the shell's next command
    st.text('ab"\\ $`*?~#;&|<>(){}!\n', max_size=6).map(lambda inner: f"'{inner}'"),
    st.lists(
        st.one_of(
            st.text("ab' *?~#;&|<>(){}\n", min_size=1, max_size=3),
            st.sampled_from([r"\$", r"\`", r"\"", r"\\", r"\a", "\\\n", r"\'", r"\ "]),
        ),
        max_size=4,
    ).map(lambda inner: '"' + "".join(inner) + '"'),
    st.sampled_from(["\\" + c for c in "ab\"'\\ $`*?~#;&|<>()\n\t"]),
)


def words_of_sh(line):
    script = "set -- " + line + "\nfor word; do printf '%s\\0' \"$word\"; done"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, timeout=30)
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=8).map("".join))
def test_the_words_are_those_of_a_real_shell(line):
    assert split(line) == words_of_sh(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        (" \t\n ", []),
        ("sh -c 'echo hi'", ["sh", "-c", "echo hi"]),
        ("a\nb\tc  d", ["a", "b", "c", "d"]),
        ("''", [""]),
        ("a''b\"\"c", ["abc"]),
        ("a '' b", ["a", "", "b"]),
        ('"$HOME `x` \\$y"', ["$HOME `x` $y"]),
        ("$HOME *.py ~ a;b|c&d>e #f", ["$HOME", "*.py", "~", "a;b|c&d>e", "#f"]),
        ("a\\\nb", ["ab"]),
        ("a \\\n b", ["a", "b"]),
        ("a\u00a0b\rc", ["a\u00a0b\rc"]),
    ],
)
def test_words(line, words):
    assert split(line) == words


@pytest.mark.parametrize("line", ["'", '"', "a 'b", 'a "b\\"', "a\\", "'a' \"b'"])
def test_what_is_never_closed_is_said_so(line):
    with pytest.raises(Unfinished):
        split(line)


@given(st.text("ab '\"\\\n$"))
def test_nothing_else_comes_out(line):
    try:
        words = split(line)
    except Unfinished:
        return
    assert all(isinstance(word, str) for word in words)
