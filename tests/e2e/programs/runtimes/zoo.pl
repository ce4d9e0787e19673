# Client of Perl's LWP: `zoo.pl lwp ADDRESS CA BODY`. What it prints and reads is described in tests/e2e/src/zoo.rs.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use HTTP::Request;
use LWP::UserAgent;
use Net::SSLeay;

my (undef, $address, $authority, $body_file) = @ARGV;
open my $file, '<:raw', $body_file or die "$body_file: $!";
my $body = do { local $/; <$file> };
$| = 1;

my $agent = LWP::UserAgent->new(keep_alive => 1, ssl_opts => { SSL_ca_file => $authority });

sub exchange {
    my ($method, $path, $content) = @_;
    my $request = HTTP::Request->new($method, $address . $path, [], $content);
    my $response = $agent->request($request);
    die $response->status_line unless $response->is_success;
    return sha256_hex($response->content);
}

my $library = Net::SSLeay::SSLeay_version(0);
printf "ready {\"version\": \"%vd\", \"library\": \"%s\"}\n", $^V, $library;
while (<STDIN>) {
    my $got = exchange('GET', '/bytes/30721', undef);
    my $echoed = exchange('POST', '/echo', $body);
    print "done {\"get\": \"$got\", \"post\": \"$echoed\"}\n";
}
