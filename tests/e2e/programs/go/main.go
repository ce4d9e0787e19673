// A server, a client and a reverse proxy with nothing but Go's own library, which say what they sent and received.
//
//	main server -cert FILE -key FILE [-http1] [-tls 1.2|1.3]
//	main proxy  -cert FILE -key FILE [-http1] -ca FILE -target URL
//	main client -ca FILE [-http1] [-tls 1.2|1.3] [-fresh] [-count N] URL
//	main self   -cert FILE -key FILE -ca FILE [-http1] [-tls 1.2|1.3] [-fresh] [-count N] PATH
//
// Servers say their port; server and proxy run until their standard input ends. The client waits for a line before each request,
// and says one of JSON after it. self is server and client in one process. Every name is 127.0.0.1.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"strconv"
)

var (
	cert   = flag.String("cert", "", "certificate of the server")
	key    = flag.String("key", "", "its key")
	ca     = flag.String("ca", "", "who is trusted")
	target = flag.String("target", "", "where the proxy sends requests")
	http1  = flag.Bool("http1", false, "no HTTP/2")
	only   = flag.String("tls", "", "the one version: 1.2 or 1.3")
	fresh  = flag.Bool("fresh", false, "a connection for each request, resumed sessions")
	count  = flag.Int("count", 1, "requests")
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: main server|proxy|client|self FLAGS")
	}
	check(flag.CommandLine.Parse(os.Args[2:]))
	switch os.Args[1] {
	case "server":
		serve(http.HandlerFunc(answer))
		io.Copy(io.Discard, os.Stdin)
	case "proxy":
		to, err := url.Parse(*target)
		check(err)
		proxy := httputil.NewSingleHostReverseProxy(to)
		proxy.Transport = transport()
		direct := proxy.Director
		proxy.Director = func(request *http.Request) {
			direct(request)
			request.Host = to.Host
		}
		serve(proxy)
		io.Copy(io.Discard, os.Stdin)
	case "client":
		client(flag.Arg(0))
	case "self":
		port := serve(http.HandlerFunc(answer))
		client(fmt.Sprintf("https://self.qtap.test:%d%s", port, flag.Arg(0)))
	default:
		log.Fatalf("unknown mode %q", os.Args[1])
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func config() *tls.Config {
	config := &tls.Config{}
	switch *only {
	case "1.2":
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	case "1.3":
		config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	}
	return config
}

// serve begins to serve, and says and returns the port.
func serve(handler http.Handler) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := &http.Server{Handler: handler, TLSConfig: config()}
	if *http1 {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	go func() { check(server.ServeTLS(listener, *cert, *key)) }()
	port := listener.Addr().(*net.TCPAddr).Port
	fmt.Println(port)
	return port
}

// answer takes the whole request, and gives back as many bytes as the last element of the path says.
func answer(response http.ResponseWriter, request *http.Request) {
	size, err := strconv.Atoi(path.Base(request.URL.Path))
	if err != nil {
		http.Error(response, err.Error(), http.StatusNotFound)
		return
	}
	received, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	response.Header().Set("Content-Type", "application/octet-stream")
	response.Header().Set("X-Request-Digest", digest(received))
	response.Write(pattern(size, 1))
}

func transport() *http.Transport {
	authorities := x509.NewCertPool()
	pem, err := os.ReadFile(*ca)
	check(err)
	if !authorities.AppendCertsFromPEM(pem) {
		log.Fatalf("no certificate in %s", *ca)
	}
	config := config()
	config.RootCAs = authorities
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	var dialer net.Dialer
	return &http.Transport{
		TLSClientConfig:   config,
		ForceAttemptHTTP2: !*http1,
		DisableKeepAlives: *fresh,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
}

func client(to string) {
	transport := transport()
	client := &http.Client{Transport: transport}
	lines := bufio.NewScanner(os.Stdin)
	for number := 0; number < *count && lines.Scan(); number++ {
		sent := pattern(20000+number, 2)
		response, err := client.Post(to, "application/octet-stream", bytes.NewReader(sent))
		check(err)
		received, err := io.ReadAll(response.Body)
		check(err)
		check(response.Body.Close())
		if seen := response.Header.Get("X-Request-Digest"); seen != digest(sent) {
			log.Fatalf("the server saw another body: %s", seen)
		}
		check(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
			"protocol": response.Proto,
			"resumed":  response.TLS.DidResume,
			"status":   response.StatusCode,
			"sent":     digest(sent),
			"received": digest(received),
		}))
	}
	transport.CloseIdleConnections()
}

func digest(bytes []byte) string {
	sum := sha256.Sum256(bytes)
	return hex.EncodeToString(sum[:])
}

// pattern is that many bytes which no coding makes shorter, other ones for each seed.
func pattern(size int, seed byte) []byte {
	var bytes []byte
	block := sha256.Sum256([]byte{seed})
	for len(bytes) < size {
		bytes = append(bytes, block[:]...)
		block = sha256.Sum256(block[:])
	}
	return bytes[:size]
}
