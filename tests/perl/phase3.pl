# A program for CSTA Phase III as a HiPath speaks it. It takes events by position: what is not
# exactly built as here it cannot read.
#
#   perl phase3.pl PORT DEVICE LAST NAME PASSWORD
use strict;
use warnings;
use Convert::ASN1;
use IO::Socket::INET;

my ($port, $device, $last, $name, $password) = @ARGV;
$| = 1;

my $asn = Convert::ASN1->new;
$asn->prepare(<<'NOTATION') or die $asn->error;
PDU ::= CHOICE { request [1] Request, result [2] Result, aare [APPLICATION 1] Aare }
Request ::= SEQUENCE { invokeID INTEGER, operation INTEGER, args ANY }
Result ::= SEQUENCE { invokeID INTEGER, result SEQUENCE { operation INTEGER, rest ANY } }

Aarq ::= [APPLICATION 0] SEQUENCE {
    context [1] SEQUENCE { name OBJECT IDENTIFIER },
    requirements [10] OCTET STRING,
    who [12] SEQUENCE { outer [2] SEQUENCE { inner [0] SEQUENCE { both [0] SEQUENCE { name OCTET STRING, password OCTET STRING } } } },
    information [30] SEQUENCE { external [UNIVERSAL 8] SEQUENCE { outer [0] SEQUENCE { inner [0] SEQUENCE { version BIT STRING } } } }
}
Aare ::= SEQUENCE {
    context [1] SEQUENCE { name OBJECT IDENTIFIER },
    result [2] SEQUENCE { value INTEGER },
    diagnostic [3] SEQUENCE { user [1] SEQUENCE { value INTEGER } },
    requirements [8] OCTET STRING,
    who [10] SEQUENCE { outer [2] SEQUENCE { inner [0] SEQUENCE { both [1] SEQUENCE { stamp OCTET STRING, version OCTET STRING } } } },
    information [30] SEQUENCE { external [UNIVERSAL 8] SEQUENCE { outer [0] SEQUENCE { inner [0] SEQUENCE { version BIT STRING } } } }
}
Number ::= SEQUENCE { dialingNumber [0] OCTET STRING }
Connection ::= [APPLICATION 11] SEQUENCE { both SEQUENCE { call [0] OCTET STRING, device [1] SEQUENCE { id Number } } }
Stamp ::= [APPLICATION 30] SEQUENCE { security [0] SEQUENCE { at [UNIVERSAL 24] OCTET STRING } }

StatusArgs ::= SEQUENCE { status ENUMERATED }
MonitorStartArgs ::= SEQUENCE { device Number, filter [0] SEQUENCE {
    call [0] BIT STRING, associated [6] BIT STRING, media [7] BIT STRING, physical [8] BIT STRING, logical [9] BIT STRING,
    maintenance [3] BIT STRING, voice [5] BIT STRING, private [4] BIT STRING } }
MonitorStartRS ::= SEQUENCE { crossRef [APPLICATION 21] OCTET STRING }
MonitorStopArgs ::= SEQUENCE { crossRef [APPLICATION 21] OCTET STRING }

EventReport ::= SEQUENCE { crossRef [APPLICATION 21] OCTET STRING, events [0] CallControl }
CallControl ::= SEQUENCE { event CHOICE {
    cleared [3] Cleared, delivered [4] Delivered, established [7] Established, held [9] Held, transferred [17] Transferred } }
Delivered ::= SEQUENCE { connection Connection, subject [APPLICATION 3] SEQUENCE { id Number }, calling [APPLICATION 1] SEQUENCE { id Number },
    called [APPLICATION 2] SEQUENCE { id Number }, last [APPLICATION 4] SEQUENCE { notRequired [7] NULL },
    state [APPLICATION 14] ENUMERATED, cause ENUMERATED, stamp Stamp }
Established ::= SEQUENCE { connection Connection, subject [APPLICATION 3] SEQUENCE { id Number }, calling [APPLICATION 1] SEQUENCE { id Number },
    called [APPLICATION 2] SEQUENCE { id Number }, last [APPLICATION 4] SEQUENCE { notRequired [7] NULL },
    state [APPLICATION 14] ENUMERATED, cause ENUMERATED, stamp Stamp }
Cleared ::= SEQUENCE { connection Connection, subject [APPLICATION 3] SEQUENCE { id Number }, state [APPLICATION 14] ENUMERATED, cause ENUMERATED, stamp Stamp }
Held ::= SEQUENCE { connection Connection, subject [APPLICATION 3] SEQUENCE { id Number }, state [APPLICATION 14] ENUMERATED, cause ENUMERATED, stamp Stamp }
Transferred ::= SEQUENCE { connection Connection, secondary [0] Both OPTIONAL,
    subject [APPLICATION 3] SEQUENCE { id Number }, to [APPLICATION 3] SEQUENCE { id Number },
    list [1] SEQUENCE OF Item, state [APPLICATION 14] ENUMERATED, cause ENUMERATED, stamp Stamp }
Both ::= SEQUENCE { both SEQUENCE { call [0] OCTET STRING, device [1] SEQUENCE { id Number } } }
Listed ::= SEQUENCE { connection Connection }
Ended ::= SEQUENCE { id Number }
Item ::= SEQUENCE { new [0] Listed OPTIONAL, old [1] Listed OPTIONAL, endpoint [2] Ended OPTIONAL, nid [3] Ended OPTIONAL }
NOTATION

my $sock = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Proto => 'tcp') or die "connect: $!";

sub coder { return $asn->find($_[0]) || die "no $_[0]" }

sub encoded {
    my ($type, $value) = @_;
    return coder($type)->encode($value) // die "$type: " . coder($type)->error;
}

sub decoded {
    my ($type, $data) = @_;
    return coder($type)->decode($data) || die "$type: " . coder($type)->error;
}

sub put { $sock->syswrite(pack('Cn', 0x26, 0x8000 + length $_[0]) . $_[0]) }

sub get {
    sysread($sock, my $head, 3) == 3 or die "no header";
    my ($mark, $length) = unpack('Cn', $head);
    $mark == 0x26 && $length & 0x8000 or die "no header";
    my $n = sysread($sock, my $pdu, $length & 0x7FFF);
    $n == ($length & 0x7FFF) or die "a PDU in pieces";
    return decoded('PDU', $pdu);
}

my $version = pack('H*', '1000');
put(encoded('Aarq', {
    context => { name => '1.3.12.0.218' }, requirements => pack('H*', '0680'),
    who => { outer => { inner => { both => { name => $name, password => $password } } } },
    information => { external => { outer => { inner => { version => [$version, 13] } } } },
}));
my $answer = get()->{aare} or die "no AARE";
if ($answer->{result}{value} != 0) {
    print "refused $answer->{result}{value}\n";
    exit 0;
}
length $answer->{who}{outer}{inner}{both}{stamp} == 16 or die "no stamp";
my $status = get()->{request} or die "no SystemStatus";
$status->{operation} == 52 or die "operation $status->{operation} where SystemStatus is expected";
print "status ", decoded('StatusArgs', $status->{args})->{status}, "\n";
# as the program that this is like: its answer is malformed
put(pack('H*', 'A20C02000130060200340500'));

my @none = map { [pack('H*', '00' x $_->[0]), $_->[1]] } [3, 18], [1, 5], [1, 2], [2, 11], [2, 14], [1, 3], [1, 7], [1, 1];
my %filter;
@filter{qw(call associated media physical logical maintenance voice private)} = @none;
put(encoded('PDU', { request => { invokeID => 1, operation => 71, args => encoded('MonitorStartArgs', { device => { dialingNumber => $device }, filter => \%filter }) } }));
my $started = get()->{result} or die "no result of MonitorStart";
$started->{invokeID} == 1 or die "another invoke ID";
my $ref = decoded('MonitorStartRS', $started->{result}{rest})->{crossRef};
length $ref == 2 or die "a cross reference of another length";
print "monitoring\n";

for (;;) {
    my $event = get()->{request} or die "no event";
    $event->{operation} == 21 or die "no event report";
    my $report = decoded('EventReport', $event->{args});
    $report->{crossRef} eq $ref or die "the cross reference of another monitor";
    my ($kind, $info) = %{ $report->{events}{event} };
    $info->{stamp}{security}{at} =~ /^\d{14}$/ or die "no time";
    my @devices = map { $info->{$_} ? "$_=$info->{$_}{id}{dialingNumber}" : () } qw(subject to calling called);
    my $connections = $info->{list} ? ' new=' . join ',', map { $_->{new}{connection}{both}{device}{id}{dialingNumber} } @{ $info->{list} } : '';
    print "$kind $info->{connection}{both}{device}{id}{dialingNumber} state=$info->{state} cause=$info->{cause} @devices$connections\n";
    last if $kind eq $last;
}
put(encoded('PDU', { request => { invokeID => 2, operation => 73, args => encoded('MonitorStopArgs', { crossRef => $ref }) } }));
for (;;) {
    my $stopped = get();
    next if $stopped->{request};
    $stopped->{result}{invokeID} == 2 && $stopped->{result}{result}{rest} eq "\x05\x00" or die "no result of MonitorStop";
    last;
}
put(pack('H*', '6406800100810101'));
close $sock;
print "stopped\n";
