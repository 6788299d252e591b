package freeswitch

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A command that FreeSWITCH does not let the link's user send is an error that says so, and the log names it.
func TestRights(t *testing.T) {
	var log strings.Builder
	tr := newTrial(t, LinkConfig{Log: slog.New(slog.NewTextHandler(&log, nil))}, "1001")
	tr.tell(talking)
	tr.settle()
	tr.answer = "-ERR permission denied"
	to := uacsta.Dev("1003")
	for command, service := range map[string]any{
		"uuid_hold":         uacsta.HoldCall{CallToBeHeld: uacsta.Conn("A", "1001")},
		"uuid_setvar_multi": uacsta.ConsultationCall{ExistingCall: uacsta.Conn("A", "1001"), ConsultedDevice: to},
		"db":                uacsta.SetForwarding{Device: uacsta.Dev("1002"), ActivateForward: true, ForwardDN: &to},
		"originate":         uacsta.MakeCall{CallingDevice: uacsta.Dev("1002"), CalledDirectoryNumber: to},
		"list_users":        uacsta.GroupPickupCall{NewDestination: uacsta.Dev("1002")},
		"uuid_kill":         uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn("A", "1001")},
		"uuid_transfer":     uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn("A", "1001"), TransferredTo: to},
		"uuid_recv_dtmf":    uacsta.GenerateDigits{ConnectionToSendDigits: uacsta.Conn("A", "1001"), CharactersToSend: "1"},
	} {
		tr.refused(service, "operation/securityViolation")
		if want := `add it to esl-allowed-api" command=` + command + "\n"; !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), want) {
			t.Errorf("%s: the log says %s", command, log.String())
		}
	}
	if strings.Contains(log.String(), "is it loaded") || strings.Contains(log.String(), "level=INFO") {
		t.Errorf("the log says %s", log.String())
	}
}

// A device cannot forward to itself.
func TestForwardToItself(t *testing.T) {
	tr := newTrial(t, LinkConfig{Domains: []string{"other.test"}})
	to := uacsta.Dev("1003")
	for _, device := range []string{"1003", "1003@other.test"} {
		tr.refused(uacsta.SetForwarding{Device: uacsta.Dev(device), ActivateForward: true, ForwardDN: &to}, "invalidForwardingDestination")
	}
	tr.must(uacsta.SetForwarding{Device: uacsta.Dev("1002"), ActivateForward: true, ForwardDN: &to})
}

// Those in a conference learn that a device that was called into it could not be reached, whether or not it rang.
func TestConferenceUnreached(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002", "1003")
	tr.tell(talking)
	tr.settle()
	tr.core.told = map[string][]string{}
	join := uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn("A", "1001"), DeviceToJoin: uacsta.Dev("1003"), ParticipationType: uacsta.ParticipationActive}
	tr.must(join)
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=1001,ignore_early_media=true,originate_timeout=30}user/1003@pbx.test &conference(csta-#@default)\nJob-UUID: #")
	tr.result(tr.made(), "-ERR USER_NOT_REGISTERED\n")
	for device, state := range map[string]string{"1001": "connected", "1002": "connected", "1003": "null"} {
		tr.hears(device, "Failed 1003 "+state+" destOutOfOrder")
	}
	tr.must(join)
	tr.tell(strings.ReplaceAll("CHANNEL_CREATE id=# dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=#\nCHANNEL_HANGUP id=# why=CALL_REJECTED", "#", tr.made()))
	for device, state := range map[string]string{"1001": "connected", "1002": "connected", "1003": "null"} {
		tr.hears(device, "Failed 1003 "+state+" busy")
	}
	if got := len(tr.link.calls["A"].Parties); got != 2 {
		t.Errorf("%d are in the call", got)
	}
}

// A telephone that is called into a conference stops to ring when all others have left.
func TestConferenceEndsWhileOneRings(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1003")
	tr.tell(talking)
	tr.must(uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn("A", "1001"), DeviceToJoin: uacsta.Dev("1003"), ParticipationType: uacsta.ParticipationActive})
	third := tr.made()
	tr.tell(strings.ReplaceAll("CHANNEL_CREATE id=# dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=#\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING", "#", third))
	tr.settle()
	if strings.HasPrefix(tr.gave(), "api uuid_kill") {
		t.Errorf("%s while one is in the conference", tr.gave())
	}
	tr.tell("CHANNEL_HANGUP id=B why=NORMAL_CLEARING")
	tr.gives("api uuid_kill #")
	tr.tell("CHANNEL_HANGUP id=" + third + " why=ORIGINATOR_CANCEL")
	tr.settle()
	if len(tr.link.calls) != 0 {
		t.Errorf("%d calls are left", len(tr.link.calls))
	}
}

// A telephone shows who calls it, where a command can carry the number.
func TestShowing(t *testing.T) {
	l, err := NewLink(LinkConfig{Domain: "pbx.test", Domains: []string{"other.test"}})
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[string]string{"1001": "1001", "1001@other.test": "1001", "": "", "a b": "", "${x}": ""} {
		got := ""
		for _, p := range l.showing(number) {
			got = strings.TrimPrefix(p.text, "origination_caller_id_number=")
		}
		if got != want {
			t.Errorf("%q: %q, not %q", number, got, want)
		}
	}
}

// result tells the result of a background job.
func (tr *trial) result(job, text string) {
	done := make(chan struct{})
	tr.link.inbox.Post(func() {
		defer close(done)
		tr.link.handle(event{headers: map[string]string{"Event-Name": "BACKGROUND_JOB", "Job-UUID": job}, body: text})
	})
	<-done
}
