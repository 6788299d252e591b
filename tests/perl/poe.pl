# A program for POE::Component::Telephony::CTPort, which starts ctserver itself: when port 1 rings, it goes off hook, plays a
# beep, and collects two digits; then it goes on hook, asks about the card, and ends. It says what it hears.
#
#   perl poe.pl COMMAND
use strict;
use warnings;
use POE qw(Wheel::Run Component::Telephony::CTPort);

my ($command) = @ARGV;
$| = 1;

# What it does next, when the reply to the command before has come.
my %next = (
	ring => ['off_hook'], ctanswer => [play => 'beep'], ctplay => [collect => 2, 60, 60], ctcollect => ['on_hook'], cthangup => ['ser_version'],
	serversion => ['port_status'], portstatus => ['shutdown'],
);

POE::Session->create(inline_states => {
	_start => sub { POE::Component::Telephony::CTPort->spawn({ alias => 'ctport', port => 1, reconnect => 3600, ctserver => $command }) },
	connected => sub { print "connected\n" },
	ct_input => sub {
		my ($kernel, $in) = @_[KERNEL, ARG0];
		print join(' ', $in->{rly}, grep { defined } @{ $in->{args} }), "\n";
		my $todo = delete $next{ $in->{rly} };
		$kernel->post(ctport => @$todo) if $todo;
		if ($in->{rly} eq 'shutdown') {
			$kernel->call(ctserver => 'drop_wheel');
			exit 0;
		}
	},
	disconnected => sub { }, socket_error => sub { },
});
POE::Kernel->run;
