"""Adding a page to ``_toc.yml`` as text, so that comments and spelling of the file stay as they are."""

__all__ = ["CAPTION", "listed", "with_page"]

CAPTION = "Your families"


def with_page(text, page, caption=CAPTION):
    """Return the table of contents ``text`` with ``page`` listed as the last one under ``caption``.

    Lines are only added: a part with the caption gets one more line, and where there is none a part is put
    after the last one. A page that is listed already, anywhere, changes nothing.

    Parameters
    ----------
    text : str
        Of a ``_toc.yml`` of the format jb-book with parts.
    page : str
        Such as ``"notebooks/my-family"``.
    caption : str
        Of the part.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        The file is no such table of contents, so that nothing can be added to it safely.

    Examples
    --------
    >>> toc = "format: jb-book\\nroot: intro\\nparts:\\n- caption: A\\n  chapters:\\n  - file: a\\n"
    >>> print(with_page(toc, "b", "B").removeprefix(toc), end="")
    - caption: B
      chapters:
      - file: b
    """
    before, node = _read(text)
    if page in _pages(before):
        return text
    parts = _only(node, "parts", "sequence")
    _check_parts(parts)
    for part in parts.value:
        _check_parts(_only(part, "chapters", "sequence"))
    captions = [part.get("caption") for part in before["parts"]]
    if captions.count(caption) > 1:
        raise _unclear(f"it has {captions.count(caption)} parts with the caption {caption!r}")
    if caption in captions:
        chapters = _only(parts.value[captions.index(caption)], "chapters", "sequence")
        last, column = chapters.value[-1], chapters.start_mark.column
        lines = [f"{' ' * column}- file: {page}"]
    else:
        last, column = parts.value[-1], parts.start_mark.column
        inner = _only(last, "chapters", "sequence").start_mark.column
        lines = [f"- caption: {caption}", "  chapters:", f"{' ' * (inner - column)}- file: {page}"]
        lines = [" " * column + line for line in lines]
    after = _inserted(text, lines, _last_line(last))
    _check_only_added(before, after, page, caption)
    return after


def listed(text):
    """Return the pages that a table of contents lists, the root first.

    Raises
    ------
    ValueError
        As :func:`with_page`.
    """
    return _pages(_read(text)[0])


def _unclear(reason):
    reason = " ".join(str(reason).split())
    return ValueError(f"_toc.yml cannot be understood ({reason}); correct it, or add the page to it by hand.")


def _read(text):
    """Return the table of contents as data and as a tree of nodes that know their lines."""
    import yaml

    try:
        data, node = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _unclear(error) from None
    if not isinstance(data, dict) or data.get("format") != "jb-book":
        raise _unclear("its format is not jb-book")
    parts = data.get("parts")
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise _unclear("it has no list of parts")
    return data, node


def _only(mapping, key, kind):
    """Return the value node under ``key``, which must be there once and of one kind."""
    found = [value for name, value in mapping.value if name.value == key]
    if len(found) != 1 or found[0].id != kind or not found[0].value:
        raise _unclear(f"line {mapping.start_mark.line + 1} begins a part without one list of {key}")
    return found[0]


def _check_parts(sequence):
    if sequence.flow_style or any(node.id != "mapping" or node.flow_style for node in sequence.value):
        raise _unclear(f"line {sequence.start_mark.line + 1} is written with brackets or without keys")


def _pages(data):
    """Return every file that is named, at any depth."""
    if isinstance(data, list):
        return [page for entry in data for page in _pages(entry)]
    if isinstance(data, dict):
        own = [data[key] for key in ("root", "file") if isinstance(data.get(key), str)]
        return own + [page for value in data.values() for page in _pages(value)]
    return []


def _last_line(node):
    """Return the number, from 0, of the last line on which a node has contents."""
    if node.id == "scalar":
        return node.end_mark.line
    inner = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else (pair,))]
    return max([_last_line(child) for child in inner], default=node.start_mark.line)


def _inserted(text, lines, after):
    """Return the text with lines put after the line of number ``after``, with its own line ends."""
    end = "\r\n" if "\r\n" in text else "\n"
    kept = text.splitlines(keepends=True)
    if not kept[after].endswith(("\n", "\r")):
        kept[after] += end
    return "".join(kept[: after + 1] + [line + end for line in lines] + kept[after + 1 :])


def _check_only_added(before, after, page, caption):
    """Read what was written: it must be what was there and the new page, and nothing else."""
    found, _ = _read(after)
    entry = {"file": page}
    wanted = [dict(part) for part in before["parts"]]
    for part in wanted:
        if part.get("caption") == caption:
            part["chapters"] = [*part["chapters"], entry]
            break
    else:
        wanted.append({"caption": caption, "chapters": [entry]})
    if found != {**before, "parts": wanted}:
        raise _unclear("a line added to it would mean something else")
