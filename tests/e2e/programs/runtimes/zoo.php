<?php
// Clients of PHP: `zoo.php MODE ADDRESS CA BODY`. What they print and read is described in tests/e2e/src/zoo.rs.
[, $mode, $address, $authority, $bodyFile] = $argv;
$body = file_get_contents($bodyFile);

function say(string $word, array $facts): void
{
    echo $word, ' ', json_encode($facts), "\n";
}

// A handle for each request, as the clients in use have them; the connection is the multi handle's. (Where one handle makes a GET after
// a POST over HTTP/2, libcurl 7.88 does not end the GET and resets its stream when the response is there.)
function with_curl(CurlMultiHandle $multi, array $options, string $method, string $url, string $body): string
{
    $curl = curl_init($url);
    curl_setopt_array($curl, $options);
    if ($method === 'POST') {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $body);
    }
    curl_multi_add_handle($multi, $curl);
    do {
        curl_multi_exec($multi, $running);
        curl_multi_select($multi);
    } while ($running);
    $failure = curl_error($curl);
    $got = curl_multi_getcontent($curl);
    curl_multi_remove_handle($multi, $curl);
    if ($failure !== '') {
        fwrite(STDERR, $failure . "\n");
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
    $multi = curl_multi_init();
    $options = [
        CURLOPT_CAINFO => $authority,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTP_VERSION => $mode === 'curl-h2' ? CURL_HTTP_VERSION_2_0 : CURL_HTTP_VERSION_1_1,
        CURLOPT_PROXY => '',
    ];
    $exchange = fn ($method, $path) => with_curl($multi, $options, $method, $address . $path, $body);
    $library = curl_version()['ssl_version'];
}
say('ready', ['version' => PHP_VERSION, 'library' => $library]);
while (fgets(STDIN) !== false) {
    $got = hash('sha256', $exchange('GET', '/bytes/30721'));
    $echoed = hash('sha256', $exchange('POST', '/echo'));
    say('done', ['get' => $got, 'post' => $echoed]);
}
