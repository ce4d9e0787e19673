"""Client on curl with BoringSSL, as a browser does it: `curl_client.py PORT`. Prints the status and the length of the body as JSON."""

import json
import sys

from curl_cffi import CurlHttpVersion, CurlOpt, requests

port = sys.argv[1]
name = "curl.qtap.test"
answer = requests.get(
    f"https://{name}:{port}/",
    http_version=CurlHttpVersion.V3ONLY,
    impersonate="chrome",
    verify=False,
    timeout=20,
    curl_options={CurlOpt.RESOLVE: [f"{name}:{port}:127.0.0.1"]},
)
print(json.dumps({"status": answer.status_code, "body": len(answer.content), "version": answer.http_version}))
