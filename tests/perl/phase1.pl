# A program for CSTA Phase I, written from the notation: it monitors a device, says what it
# hears, and stops the monitor after the last event that it waits for.
#
#   perl phase1.pl PORT DEVICE LAST
use strict;
use warnings;
use Convert::ASN1;
use IO::Socket::INET;

my ($port, $device, $last) = @ARGV;
$| = 1;

my $asn = Convert::ASN1->new;
$asn->prepare(<<'NOTATION') or die $asn->error;
PDU ::= CHOICE { request [1] Request, result [2] Result, error [3] Failure, reject [4] Refusal }
Request ::= SEQUENCE { invokeID INTEGER, serviceID INTEGER, args ANY }
Result ::= SEQUENCE { invokeID INTEGER, result SEQUENCE { serviceID INTEGER, rest ANY OPTIONAL } }
Failure ::= SEQUENCE { invokeID INTEGER, unknown INTEGER, cause ANY }
Refusal ::= SEQUENCE { invokeID INTEGER, problem ANY }

NumberDigits ::= IA5String
DeviceID ::= CHOICE { dialingNumber [0] NumberDigits, deviceNumber [1] INTEGER }
Known ::= CHOICE { dialingNumber [0] NumberDigits, deviceNumber [1] INTEGER, notKnown [7] NULL, notRequired [8] NULL }
Calling ::= [APPLICATION 1] EXPLICIT Known
Called ::= [APPLICATION 2] EXPLICIT Known
Subject ::= [APPLICATION 3] EXPLICIT Known
Redirection ::= [APPLICATION 4] EXPLICIT Known
ConnectionID ::= [APPLICATION 11] SEQUENCE { call [2] OCTET STRING OPTIONAL, device [0] NumberDigits OPTIONAL }
ConnectionList ::= [APPLICATION 12] SEQUENCE OF ConnectionID
State ::= [APPLICATION 14] ENUMERATED
CrossRef ::= [APPLICATION 21] OCTET STRING

MonitorStartArgs ::= SEQUENCE { monitorObject DeviceID }
MonitorStartRS ::= SEQUENCE { crossRef CrossRef }
MonitorStopArgs ::= CrossRef
EventReport ::= SEQUENCE { crossRef CrossRef, eventType [0] INTEGER, info ANY }

Delivered ::= SEQUENCE { connection ConnectionID, alerting Subject, calling Calling, called Called, last Redirection, state State OPTIONAL, cause ENUMERATED OPTIONAL }
Established ::= SEQUENCE { connection ConnectionID, answering Subject, calling Calling, called Called, last Redirection, state State OPTIONAL, cause ENUMERATED OPTIONAL }
Cleared ::= SEQUENCE { connection ConnectionID, releasing Subject, state State, cause ENUMERATED OPTIONAL }
Transferred ::= SEQUENCE { primary ConnectionID, secondary ConnectionID OPTIONAL, transferring Subject, transferred Subject, list ConnectionList OPTIONAL, state State, cause ENUMERATED OPTIONAL }
Held ::= SEQUENCE { connection ConnectionID, holding Subject, state State OPTIONAL, cause ENUMERATED OPTIONAL }
NOTATION

my $sock = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Proto => 'tcp') or die "connect: $!";

sub put {
    my ($name, $value) = @_;
    my $pdu = $asn->find('PDU')->encode($value) or die "$name: " . $asn->error;
    $sock->syswrite(pack('n', length $pdu) . $pdu);
}

# As the program that this is like: the length with one read, the PDU with one read.
sub get {
    sysread($sock, my $head, 2) == 2 or die "no length";
    my $length = unpack('n', $head);
    my $n = sysread($sock, my $pdu, $length);
    $n == $length or die "a PDU in pieces: $n of $length";
    return $asn->find('PDU')->decode($pdu) || die "PDU: " . $asn->find('PDU')->error;
}

sub part {
    my ($type, $data) = @_;
    my $coder = $asn->find($type);
    return $coder->decode($data) || die "$type: " . $coder->error;
}

sub encoded {
    my ($type, $value) = @_;
    my $coder = $asn->find($type);
    return $coder->encode($value) // die "$type: " . $coder->error;
}

my $id = 19754; # two octets, as a process number has
put('MonitorStart', { request => { invokeID => $id, serviceID => 71, args => encoded('MonitorStartArgs', { monitorObject => { dialingNumber => $device } }) } });
my $answer = get();
$answer->{result} && $answer->{result}{invokeID} == $id or die "no result of MonitorStart";
my $ref = part('MonitorStartRS', $answer->{result}{result}{rest})->{crossRef};
length $ref == 2 or die "a cross reference of another length";
print "monitoring\n";

my %events = (3 => 'Cleared', 4 => 'Delivered', 6 => 'Established', 8 => 'Held', 14 => 'Transferred');
for (;;) {
    my $event = get()->{request} or die "no event";
    $event->{serviceID} == 21 or die "no event report";
    my $report = part('EventReport', $event->{args});
    $report->{crossRef} eq $ref or die "the cross reference of another monitor";
    my $name = $events{ $report->{eventType} } or next;
    my $info = part($name, $report->{info});
    my @devices = map { $info->{$_} ? "$_=" . ($info->{$_}{dialingNumber} // 'unknown') : () } qw(alerting answering releasing transferring transferred calling called);
    my $connection = $info->{connection} || $info->{primary};
    print "$name $connection->{device} state=$info->{state} @devices\n";
    last if $name eq $last;
}
put('MonitorStop', { request => { invokeID => 2, serviceID => 73, args => encoded('MonitorStopArgs', $ref) } });
for (;;) {
    my $stopped = get();
    next if $stopped->{request};
    $stopped->{result} && $stopped->{result}{invokeID} == 2 or die "no result of MonitorStop";
    last;
}
close $sock;
print "stopped\n";
