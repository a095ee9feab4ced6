"""Keys to served models: they are in the environment only, and each variable goes to one host.

A spec may be somebody else's, and may name any server: it must not be able to have a key sent there. A variable that
everybody has goes to the host of its provider alone; any other says by its name to which host it goes.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import SplitResult, urlsplit

from sdsearch.errors import ModelError

PROVIDERS = {
    "ANTHROPIC_API_KEY": "api.anthropic.com",
    "CEREBRAS_API_KEY": "api.cerebras.ai",
    "DEEPSEEK_API_KEY": "api.deepseek.com",
    "FIREWORKS_API_KEY": "api.fireworks.ai",
    "GEMINI_API_KEY": "generativelanguage.googleapis.com",
    "GROQ_API_KEY": "api.groq.com",
    "HF_TOKEN": "router.huggingface.co",
    "MISTRAL_API_KEY": "api.mistral.ai",
    "NVIDIA_API_KEY": "integrate.api.nvidia.com",
    "OPENAI_API_KEY": "api.openai.com",
    "OPENROUTER_API_KEY": "openrouter.ai",
    "TOGETHER_API_KEY": "api.together.xyz",
    "XAI_API_KEY": "api.x.ai",
}
"""Variables that everybody has, and the one host that each is sent to."""
PREFIX = "SDSEARCH_KEY_"
LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
HOST = re.compile(rf"{LABEL}(?:\.{LABEL})*")


def endpoint(url: str) -> SplitResult:
    """Return the parts of the address of a server. Raises `ValueError` for one that is none, or that holds more."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"got {url!r}, expected an address such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "got an address that holds a user, a password, a question mark or `#`, expected none of them: a key is "
            "named by `key` and stands in the environment"
        )
    parts.port  # noqa: B018  raises for one that is no number
    return parts


def variable(host: str) -> str:
    """Return the variable that holds the key to a host: "llm.my-lab.org" is `SDSEARCH_KEY_LLM_MY__LAB_ORG`.

    A dot is one underscore and a hyphen two, so that no two hosts have the same. Raises `ValueError` for a host that is
    not written in letters, digits, hyphens and dots.
    """
    if not HOST.fullmatch(host):
        raise ValueError(f"got the host {host!r}, expected letters, digits, hyphens and dots, where a key is sent")
    return PREFIX + host.replace("-", "__").replace(".", "_").upper()


def misdirected(name: str, url: str) -> str:
    """Say why the key in a variable is not sent to a server; nothing if it is. Raises `ValueError` as `variable`."""
    parts = endpoint(url)
    host = parts.hostname or ""
    right = [n for n, provider in PROVIDERS.items() if provider == host] or [variable(host)]
    if name not in right:
        owner = f": {name} goes to {PROVIDERS[name]} alone" if name in PROVIDERS else ", which names its host"
        return f"got {name!r} for the host {host}, expected {right[0]}{owner}"
    if parts.scheme == "http" and not loopback(host):
        return f"got a key for {url}, expected https: a key is sent in the open to this machine alone"
    return ""


def loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def key(name: str) -> str:
    """Return what a variable holds. Raises `ModelError` where it is not set, or is nothing that can be sent."""
    found = os.environ.get(name, "").strip()
    if not found:
        raise ModelError(f"the variable {name} is not set: expected the key in it (export {name}=...)")
    if not (found.isascii() and found.isprintable()):
        raise ModelError(f"the variable {name} holds what no key is made of: expected one line of ASCII")
    return found
