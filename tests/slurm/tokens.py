#!/usr/bin/env python3
"""JSON Web Tokens as Slurm's auth/jwt reads them, made without Roster: what a test of Roster's own
tokens is held against. Inside of slurm_lab.py's shell:

    token [--rs256] USER [CLAIM=JSON...]   the claim null is left out, as in exp=null
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import sys
import time


def base64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encode(part):
    return base64url(json.dumps(part, separators=(",", ":")).encode())


def claims_of(user, ttl_s=300, **claims):
    """`claims` add to and replace `sun`, `iat` and `exp`; None leaves one out."""
    now = int(time.time())
    every = {"sun": user, "iat": now, "exp": now + ttl_s} | claims
    return {name: value for name, value in every.items() if value is not None}


def hs256(key, claims, **header):
    """`key`: the raw bytes of Slurm's jwt_key file."""
    signed = encode({"alg": "HS256", "typ": "JWT"} | header) + "." + encode(claims)
    return signed + "." + base64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())


class RsaKey:
    """An RSA key of 2048 bits in the file `path` (PEM), made when there is none."""

    def __init__(self, path, kid):
        self.path = pathlib.Path(path)
        self.kid = kid
        if not self.path.exists():
            self.path.touch(mode=0o600)
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                    "-out", self.path)

    def jwk(self):
        """The public half, as Slurm wants it: it ignores keys without `alg` RS256 and ends at one
        without `kid`."""
        printed = openssl("rsa", "-in", self.path, "-noout", "-modulus").decode()
        modulus = bytes.fromhex(printed.strip().removeprefix("Modulus="))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "e": "AQAB",
                "n": base64url(modulus)}

    def rs256(self, claims, **header):
        signed = encode({"alg": "RS256", "typ": "JWT", "kid": self.kid} | header)
        signed += "." + encode(claims)
        return signed + "." + base64url(openssl("dgst", "-sha256", "-sign", self.path,
                                                stdin=signed.encode()))


def jwks(*keys):
    return json.dumps({"keys": [key.jwk() for key in keys]}, indent=1) + "\n"


def openssl(*words, stdin=b""):
    return subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True,
                          check=True).stdout


def main():
    words = sys.argv[1:]
    use_rsa = words[:1] == ["--rs256"]
    if len(words) <= use_rsa:
        sys.exit(__doc__)
    user, *pairs = words[use_rsa:]
    claims = claims_of(user, **{name: json.loads(value) for name, value in
                                (pair.split("=", 1) for pair in pairs)})
    if use_rsa:
        print(RsaKey(os.environ["SLURM_LAB_RSA_KEY"], "lab-1").rs256(claims))
    else:
        print(hs256(pathlib.Path(os.environ["SLURM_LAB_JWT_KEY"]).read_bytes(), claims))


if __name__ == "__main__":
    main()
