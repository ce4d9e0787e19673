"""libcurl of the pycurl wheel, with its own OpenSSL 1.1.1: requests over one connection.

With --gate it says `done 0` once its libraries are mapped, `done 1` after the first request and so on, and waits for a line each time.
"""

import argparse
import hashlib
import json
import sys
from urllib.parse import urlsplit

import pycurl


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--http", choices=["1.1", "2"], default="2")
    parser.add_argument("--tls", choices=["1.2", "1.3"], default="1.3")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--gate", action="store_true")
    options = parser.parse_args()
    url = urlsplit(options.url)
    curl = pycurl.Curl()
    curl.setopt(pycurl.CAINFO, options.ca)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.TIMEOUT, 30)
    curl.setopt(pycurl.RESOLVE, [f"{url.hostname}:{url.port}:127.0.0.1"])
    version = {"1.1": pycurl.CURL_HTTP_VERSION_1_1, "2": pycurl.CURL_HTTP_VERSION_2TLS}[options.http]
    curl.setopt(pycurl.HTTP_VERSION, version)
    # The greatest version is the number of the least one, shifted.
    exact = {"1.2": pycurl.SSLVERSION_TLSv1_2, "1.3": pycurl.SSLVERSION_TLSv1_3}[options.tls]
    curl.setopt(pycurl.SSLVERSION, exact | exact << 16)
    answers = []
    for number in range(options.count):
        if options.gate:
            print(f"done {number}", flush=True)
            sys.stdin.readline()
        body = bytearray()
        curl.setopt(pycurl.URL, f"{options.url}?n={number}")
        curl.setopt(pycurl.HTTPHEADER, [f"X-Number: {number}"])
        curl.setopt(pycurl.WRITEFUNCTION, body.extend)
        curl.perform()
        answers.append(
            {
                "status": curl.getinfo(pycurl.RESPONSE_CODE),
                "connects": curl.getinfo(pycurl.NUM_CONNECTS),
                "body_len": len(body),
                "body_sha256": hashlib.sha256(body).hexdigest(),
            }
        )
    curl.close()
    print(json.dumps({"answers": answers, "library": pycurl.version}), flush=True)


if __name__ == "__main__":
    main()
