<?php
// Clients of PHP: `zoo.php MODE ADDRESS CA BODY`. What they print and read is described in tests/e2e/src/zoo.rs.
[, $mode, $address, $authority, $bodyFile] = $argv;
$body = file_get_contents($bodyFile);

function say(string $word, array $facts): void
{
    echo $word, ' ', json_encode($facts), "\n";
}

function with_curl(CurlHandle $curl, string $method, string $url, string $body): string
{
    curl_setopt($curl, CURLOPT_URL, $url);
    if ($method === 'POST') {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
    } else {
        curl_setopt($curl, CURLOPT_HTTPGET, true);
    }
    $got = curl_exec($curl);
    if ($got === false) {
        fwrite(STDERR, curl_error($curl) . "\n");
        exit(1);
    }
    return $got;
}

function with_streams(string $authority, string $method, string $url, string $body): string
{
    $context = stream_context_create([
        'http' => ['method' => $method, 'content' => $body, 'protocol_version' => '1.1',
            'header' => ['Content-Type: application/octet-stream', 'Connection: close']],
        'ssl' => ['cafile' => $authority],
    ]);
    $got = file_get_contents($url, false, $context);
    if ($got === false) {
        exit(1);
    }
    return $got;
}

if ($mode === 'streams') {
    $exchange = fn ($method, $path) => with_streams($authority, $method, $address . $path, $method === 'POST' ? $body : '');
    $library = OPENSSL_VERSION_TEXT;
} else {
    $curl = curl_init();
    curl_setopt_array($curl, [
        CURLOPT_CAINFO => $authority,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTP_VERSION => $mode === 'curl-h2' ? CURL_HTTP_VERSION_2_0 : CURL_HTTP_VERSION_1_1,
        CURLOPT_PROXY => '',
    ]);
    $exchange = fn ($method, $path) => with_curl($curl, $method, $address . $path, $body);
    $library = curl_version()['ssl_version'];
}
say('ready', ['version' => PHP_VERSION, 'library' => $library]);
while (fgets(STDIN) !== false) {
    $got = hash('sha256', $exchange('GET', '/bytes/30721'));
    $echoed = hash('sha256', $exchange('POST', '/echo'));
    say('done', ['get' => $got, 'post' => $echoed]);
}
