"""What the pages of this book need beyond Jupyter Book: proofs that fold, and no live-code service."""

from docutils import nodes
from sphinx_proof.nodes import proof_node

_PREFIX = "Proof. "


def setup(app):
    """Register the changes with Sphinx."""
    app.setup_extension("sphinx_proof")
    latex = (_nothing, _nothing)
    app.add_node(proof_node, override=True, html=(_open_proof, _close_proof), latex=latex)
    app.connect("doctree-read", _prepare_proofs)
    app.connect("config-inited", _drop_thebe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _prepare_proofs(app, doctree):
    """Mark the proofs to be folded.

    The button script that folds admonitions looks for a title, which a proof does not
    have, and stops at the first one; and every proof of a page carries the same id.
    """
    for proof in doctree.findall(proof_node):
        body = proof.next_node(nodes.admonition)
        body["ids"] = []
        if "dropdown" in body["classes"]:
            body["classes"].remove("dropdown")
            proof["fold"] = True
            _drop_prefix(body)
    bodies = (section for section in doctree.findall(nodes.section) if section["ids"] == ["proof-content"])
    for number, section in enumerate(bodies, start=1):
        section["ids"] = [f"proof-content-{number}"]


def _drop_prefix(body):
    # The line that unfolds a proof says "Proof" already.
    first = next(iter(body.findall(nodes.Text)), None)
    if first is not None and first.startswith(_PREFIX):
        first.parent.replace(first, nodes.Text(first[len(_PREFIX) :]))


def _open_proof(translator, node):
    # An HTML element that folds by itself works without any script, and for screen readers.
    if node.get("fold"):
        translator.body.append('<details class="proof-fold"><summary>Proof</summary>')


def _close_proof(translator, node):
    if node.get("fold"):
        translator.body.append("</details>")


def _nothing(translator, node):
    pass


def _drop_thebe(app, config):
    """Take out the listeners of the extension for live code.

    It writes its settings twice into each page, which is an error in the browser's console,
    and names a server this book has no use for.
    """
    for listeners in app.events.listeners.values():
        listeners[:] = [item for item in listeners if not _writes_thebe(item.handler)]


def _writes_thebe(handler):
    # Its other listener copies a style sheet that every page asks for: that one stays.
    name = getattr(handler, "__name__", "")
    return handler.__module__ == "sphinx_thebe" and name in {"init_thebe_core", "update_thebe_context"}
