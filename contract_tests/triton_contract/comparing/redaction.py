"""Takes secrets out of texts for reports: keys in headers, JSON and addresses, and words that look like keys. Pure."""

from __future__ import annotations

import re

REDACTED = "<redacted>"
_HEADERS = (
    "proxy-authorization|authorization|set-cookie|cookie|x-api-key|api-key|x-auth-token|x-amz-security-token|"
    "ocp-apim-subscription-key"
)
_FIELDS = "api_?key|password|secret|client_secret|access_token|refresh_token"
_PATTERNS = (
    (re.compile(rf"(?i)\b({_HEADERS})(\s*:\s*)[^\r\n'\"]+"), rf"\1\2{REDACTED}"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{6,}"), rf"\1\2{REDACTED}"),
    (re.compile(rf"(?i)(\"(?:{_FIELDS})\"\s*:\s*\")[^\"]*"), rf"\1{REDACTED}"),
    (re.compile(r"\b(?:sk|pk|rk)-[\w-]{8,}|\bhf_\w{16,}|\bnvapi-[\w-]{8,}"), REDACTED),
    (re.compile(r"(://)[^/\s@'\"]+@"), rf"\1{REDACTED}@"),
    (re.compile(r"(?i)([?&](?:api_?key|key|token|access_token|sig)=)[^&\s'\"]+"), rf"\1{REDACTED}"),
)


def redact(text: str) -> str:
    """The text with REDACTED in place of each secret."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
