# Client and server of Ruby: `zoo.rb net-http ADDRESS CA BODY`, `zoo.rb server CERTIFICATE KEY BODY`. What they print and read is
# described in tests/e2e/src/zoo.rs.
require "digest"
require "json"
require "net/http"
require "openssl"
require "socket"

mode, first, second, body_file = ARGV
body = File.binread(body_file)
$stdout.sync = true

def say(word, facts)
  puts "#{word} #{JSON.generate(facts)}"
end

version = { version: RUBY_VERSION, library: OpenSSL::OPENSSL_LIBRARY_VERSION }

def serve(socket, document)
  while (line = socket.gets)
    length = 0
    while (field = socket.gets) && field != "\r\n"
      length = field.split(":")[1].to_i if field.downcase.start_with?("content-length:")
    end
    received = length.zero? ? "" : socket.read(length)
    answer = line.start_with?("POST") ? received : document
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: #{answer.bytesize}\r\n\r\n", answer)
  end
ensure
  socket.close
end

if mode == "server"
  context = OpenSSL::SSL::SSLContext.new
  context.cert = OpenSSL::X509::Certificate.new(File.read(first))
  context.key = OpenSSL::PKey.read(File.read(second))
  listener = TCPServer.new("127.0.0.1", 0)
  server = OpenSSL::SSL::SSLServer.new(listener, context)
  Thread.new { loop { Thread.new(server.accept) { |socket| serve(socket, body) } } }
  say("ready", version.merge(port: listener.addr[1]))
  $stdin.read
  exit
end

address = URI(first)
http = Net::HTTP.new(address.host, address.port, nil)
http.use_ssl = true
http.ca_file = second
http.keep_alive_timeout = 60
say("ready", version)
while $stdin.gets
  http.start unless http.started?
  got = http.request(Net::HTTP::Get.new("/bytes/30721", "Accept-Encoding" => "identity")).body
  post = Net::HTTP::Post.new("/echo")
  post.body = body
  echoed = http.request(post).body
  say("done", get: Digest::SHA256.hexdigest(got), post: Digest::SHA256.hexdigest(echoed))
end
http.finish
