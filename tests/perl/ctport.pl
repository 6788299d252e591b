# A program for ctserver: when its port rings, it takes the port off hook, plays a beep, records a message, plays it back,
# plays three beeps and goes on hook. It sends all commands at once. It says what it hears, and how many tenths of a
# second after the ring.
#
#   perl ctport.pl PORT FOLDER
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(time);

my ($port, $folder) = @ARGV;
$| = 1;

my $server = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die "port $port: $!";

sub command {
	my ($name, $dst, @args) = @_;
	my $n = 0;
	print $server join(' ', "cmd=$name", 'src=0', "dst=$dst", (map { 'arg' . ++$n . "=$_" } @args), "argc=$n", "\n");
}

print "waiting\n";
my $began;
while (my $line = <$server>) {
	$line =~ s/\0//g;
	my (%said, @args);
	for (split ' ', $line) {
		my ($key, $value) = split /=/, $_, 2;
		if ($key =~ /^arg(\d+)$/) { $args[$1 - 1] = $value }
		else { $said{$key} = $value }
	}
	my $event = $said{rly} eq 'ring';
	if ($event and not $began) {
		$began = time;
		command('ctanswer', 0);
		command('ctplay', 0, "$folder/beep.au");
		command('ctrecord', 0, "$folder/prompt.wav", 15, '#', 3);
		command('ctplay', 0, "$folder/prompt.wav");
		command('ctplay', 0, "$folder/beep.au") for 1 .. 3;
		command('cthangup', 0);
		command('shutdown', -2);
	}
	printf "%d: %s\n", (time - $began) * 10, join ' ', $said{rly}, grep { length } @args;
}
