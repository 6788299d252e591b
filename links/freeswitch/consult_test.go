package freeswitch

import (
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// consulted begins a consultation of 1001, which talks with 1002, with 1003. It returns the second callID.
func consulted(t *testing.T, tr *trial) (active string) {
	t.Helper()
	tr.tell(talking)
	active = tr.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn("A", "1001"), ConsultedDevice: uacsta.Dev("1003")}).Text("initiatedCall/callID")
	tr.gives("api uuid_dual_transfer A 'm:^:execute_extension:1003 XML,inline:set:originate_failed_cause=NO_ROUTE_DESTINATION default^park/inline' park/inline")
	tr.tell("CHANNEL_PARK id=B variable_csta_waits_for=A")
	tr.settle()
	tr.core.mu.Lock()
	defer tr.core.mu.Unlock()
	clear(tr.core.told)
	return active
}

const (
	calls1003 = "CHANNEL_CREATE id=C of=A dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=C\n"
	has1003   = calls1003 + "CHANNEL_ANSWER id=C\nCHANNEL_BRIDGE id=A a=A b=C\n"
	back1001  = "CHANNEL_PARK id=A variable_csta_waits_for=A\n"
)

// Whatever ends a consultation, the call that waits stays, and RetrieveCall connects it again.
func TestConsultationEnds(t *testing.T) {
	cleared := "ConnectionCleared 1001 null normalClearing"
	talked := []string{"Delivered 1003 connected newCall", "Established 1003 connected newCall"}
	for name, tt := range map[string]struct {
		events string
		want   []string
	}{
		"the consulted party hangs up":               {has1003 + "CHANNEL_HANGUP id=C why=NORMAL_CLEARING variable_sip_term_status=200\n" + back1001, append(talked, "ConnectionCleared 1003 connected normalClearing", cleared)},
		"the channel is parked first":                {has1003 + back1001 + "CHANNEL_HANGUP id=C why=NORMAL_CLEARING variable_sip_term_status=200\n", append(talked, "ConnectionCleared 1003 connected normalClearing", cleared)},
		"busy":                                       {calls1003 + "CHANNEL_HANGUP id=C why=USER_BUSY\n" + back1001, []string{"Delivered 1003 connected newCall", "Failed 1003 connected busy", "ConnectionCleared 1003 connected busy", cleared}},
		"no such number":                             {strings.Replace(back1001, "PARK", "PARK variable_originate_failed_cause=NO_ROUTE_DESTINATION", 1), []string{"Failed 1003 connected destNotObtainable", cleared}},
		"the dialplan ends":                          {back1001, []string{cleared}},
		"the dialplan ends after a voice mailbox":    {calls1003 + "CHANNEL_HANGUP id=C why=NO_ANSWER\n" + strings.Replace(back1001, "PARK", "PARK variable_originate_failed_cause=NO_ANSWER", 1), []string{"Delivered 1003 connected newCall", "Failed 1003 connected callNotAnswered", "ConnectionCleared 1003 connected callNotAnswered", cleared}},
		"the telephone transfers the other by REFER": {has1003 + strings.Replace(back1001, "PARK", "PARK variable_transfer_disposition=recv_replace variable_transfer_destination=blind:1004", 1), append(talked, "Transfered 1001 null singleStepTransfer")},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{}, "1001", "1002", "1003")
			active := consulted(t, tr)
			tr.tell(tt.events)
			tr.hears("1001", tt.want...)
			tr.hears("1002")
			tr.refused(uacsta.AlternateCall{HeldCall: uacsta.Conn("A", "1001"), ActiveCall: uacsta.Conn(active, "1001")}, "invalidConnectionID")
			tr.must(uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn("A", "1001")})
			tr.gives("api uuid_bridge A B")
			tr.hears("1001", "Retrieved 1001 connected normal")
			tr.hears("1002", "Retrieved 1001 connected normal")
			tr.tell("CHANNEL_HANGUP id=B why=NORMAL_CLEARING variable_sip_term_status=200\nCHANNEL_HANGUP id=A why=NORMAL_CLEARING\nCHANNEL_HANGUP id=C why=NORMAL_CLEARING")
			tr.hears("1001", "ConnectionCleared 1002 connected normalClearing", cleared)
			if len(tr.link.calls) != 0 || len(tr.link.channels) != 0 {
				t.Errorf("%d calls, %d channels are left", len(tr.link.calls), len(tr.link.channels))
			}
		})
	}
}

// Services end one of the two calls of a consulting telephone.
func TestConsultationCleared(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001", "1002", "1003")
	active := uacsta.Conn(consulted(t, tr), "1001")
	held := uacsta.Conn("A", "1001")
	tr.tell(has1003)
	tr.refused(uacsta.RetrieveCall{CallToBeRetrieved: held}, "invalidConnectionState") // the other call comes first
	tr.refused(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn("A", "1002"), TransferredTo: uacsta.Dev("1004")}, "invalidConnectionState")
	tr.hears("1001", "Delivered 1003 connected newCall", "Established 1003 connected newCall")
	tr.must(uacsta.ClearConnection{ConnectionToBeCleared: active})
	tr.gives("api uuid_transfer A park inline")
	tr.hears("1001", "ConnectionCleared 1001 null normalClearing")
	tr.tell("CHANNEL_HANGUP id=C why=NORMAL_CLEARING\n" + back1001)
	tr.hears("1003", "Delivered 1003 alerting newCall", "Established 1003 connected newCall", "ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1003 null normalClearing")
	tr.must(uacsta.RetrieveCall{CallToBeRetrieved: held})
	active.CallID = tr.must(uacsta.ConsultationCall{ExistingCall: held, ConsultedDevice: uacsta.Dev("1003")}).Text("initiatedCall/callID")
	tr.tell(strings.ReplaceAll(has1003, "=C", "=D"))
	tr.must(uacsta.AlternateCall{HeldCall: held, ActiveCall: active})
	tr.must(uacsta.AlternateCall{HeldCall: active, ActiveCall: held})
	tr.must(uacsta.ClearConnection{ConnectionToBeCleared: held})
	tr.gives("api uuid_kill B NORMAL_CLEARING")
	tr.tell("CHANNEL_HANGUP id=B why=NORMAL_CLEARING")
	tr.hears("1002", "Retrieved 1001 connected normal", "Held 1001 connected consultation", "Retrieved 1001 connected alternate", "Held 1001 connected alternate",
		"ConnectionCleared 1001 connected normalClearing", "ConnectionCleared 1002 null normalClearing")
	tr.must(uacsta.ClearConnection{ConnectionToBeCleared: active}) // its only call
	tr.gives("api uuid_kill A NORMAL_CLEARING")
}

// When FreeSWITCH, and not its user, ends a consulting telephone, the link calls it back with the call that waits.
func TestCallBack(t *testing.T) {
	for name, tt := range map[string]struct {
		events string // # is the channel that calls back
		refuse string
		want   []string
		kills  string
	}{
		"it answers": {
			"CHANNEL_PROGRESS id=#\nCHANNEL_ANSWER id=#\nCHANNEL_BRIDGE id=# a=# b=B\nCHANNEL_HANGUP id=# why=NORMAL_CLEARING variable_sip_term_status=200", "",
			[]string{"Delivered 1001 alerting recall", "Established 1001 connected recall", "ConnectionCleared 1001 null normalClearing"}, "B",
		},
		"nobody answers": {
			"CHANNEL_PROGRESS id=#\nCHANNEL_HANGUP id=# why=NO_ANSWER", "",
			[]string{"Delivered 1001 alerting recall", "Failed 1001 fail callNotAnswered", "ConnectionCleared 1001 null callNotAnswered"}, "B",
		},
		"who waits hangs up": {
			"CHANNEL_PROGRESS id=#\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING variable_sip_term_status=200", "",
			[]string{"Delivered 1001 alerting recall", "ConnectionCleared 1002 alerting normalClearing"}, "#",
		},
		"FreeSWITCH refuses": {"", "bgapi originate", nil, "B"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{}, "1001", "1002")
			consulted(t, tr)
			tr.refuse = tt.refuse
			tr.tell("CHANNEL_HANGUP id=A why=USER_BUSY")
			tr.hears("1001", "Failed 1003 connected busy", "ConnectionCleared 1001 null busy", "ConnectionCleared 1001 null busy")
			if tt.refuse == "" {
				tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=1002,ignore_early_media=true,originate_timeout=30}user/1001@pbx.test &intercept(B)\nJob-UUID: #")
				made := tr.made()
				tr.tell("CHANNEL_CREATE id=E dir=outbound who=1001@pbx.test variable_csta_call=" + made + "\n" + strings.ReplaceAll(tt.events, "#", "E"))
			}
			tr.hears("1001", tt.want...)
			tr.gives("api uuid_kill " + strings.ReplaceAll(tt.kills, "#", "E"))
		})
	}
	tr := newTrial(t, LinkConfig{}, "1001")
	consulted(t, tr)
	tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING variable_sip_term_status=200") // its user
	tr.gives("api uuid_kill B")
}

// FreeSWITCH hangs up whoever leaves a bridge with a channel that holds: the call is retrieved first, and no event says so.
func TestLinesJoin(t *testing.T) {
	lines := talking + strings.NewReplacer("=A", "=C", "=B", "=D", "1002", "1003").Replace(talking) + "CHANNEL_HOLD id=A\n"
	for name, tt := range map[string]struct {
		service  any
		commands []string
		want     string
	}{
		"transfer": {
			uacsta.TransferCall{HeldCall: uacsta.Conn("A", "1001"), ActiveCall: uacsta.Conn("C", "1001")}, []string{"api uuid_hold off A", "api uuid_bridge B D"},
			"Transfered 1001 connected transfer",
		},
		"conference": {
			uacsta.ConferenceCall{HeldCall: uacsta.Conn("A", "1001"), ActiveCall: uacsta.Conn("C", "1001")},
			[]string{"api uuid_hold off A", "api uuid_transfer C -both conference:csta-#@default inline", "api uuid_transfer B conference:csta-#@default inline"},
			"Conferenced 1001 connected conference",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{}, "1002")
			tr.tell(talking)
			tr.hears("1002", "Delivered 1002 alerting newCall", "Established 1002 connected newCall")
			tr.tell(strings.TrimPrefix(lines, talking))
			tr.must(tt.service)
			tr.settle()
			tr.mu.Lock()
			commands := slices.Clone(tr.commands)
			tr.mu.Unlock()
			for i, want := range tt.commands {
				if got := identifiers.ReplaceAllString(commands[i], "#"); got != want {
					t.Errorf("command %d is %q, not %q", i, got, want)
				}
			}
			tr.tell("CHANNEL_UNHOLD id=A")
			tr.hears("1002", "Held 1001 connected normal", tt.want)
		})
	}
}

// A call that its user holds is retrieved by the telephone. The calling telephone of MakeCall is made to answer, too.
func TestTelephoneActs(t *testing.T) {
	for how, want := range map[string]string{AnswerTalk: "api uuid_phone_event B talk", AnswerAuto: ""} {
		tr := newTrial(t, LinkConfig{Answer: how}, "1002")
		tr.tell(talking + "CHANNEL_HOLD id=B") // by hand
		retrieve := uacsta.RetrieveCall{CallToBeRetrieved: uacsta.Conn("A", "1002")}
		if want == "" {
			tr.refused(retrieve, "invalidConnectionState")
		} else {
			tr.must(retrieve)
			tr.gives(want)
		}
		id := tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1004"), CalledDirectoryNumber: uacsta.Dev("1005")}).Text("callingDevice/callID")
		tr.tell("CHANNEL_CREATE id=P dir=outbound who=1004@pbx.test variable_csta_call=" + tr.made() + "\nCHANNEL_PROGRESS id=P")
		answer := uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1004")}
		if want == "" {
			tr.refused(answer, "invalidConnectionState")
		} else {
			tr.must(answer)
			tr.gives("api uuid_phone_event P talk")
		}
	}
}

// Headers that make the calling telephone answer go to that telephone alone.
func TestAutoAnswerHeaders(t *testing.T) {
	tr := newTrial(t, LinkConfig{AutoAnswer: "sip_auto_answer=true,sip_h_Alert-Info=x"})
	tr.must(uacsta.MakeCall{CallingDevice: uacsta.Dev("1001"), CalledDirectoryNumber: uacsta.Dev("1002"), AutoOriginate: uacsta.DoNotPrompt})
	tr.gives("bgapi originate {csta_call=#,origination_caller_id_number=1002,csta_calling=1001,sip_auto_answer=true,sip_h_Alert-Info=x,ignore_early_media=true,originate_timeout=30}user/1001@pbx.test " +
		"'unset:sip_h_Call-Info,unset:sip_h_Alert-Info,transfer:1002 XML default' inline\nJob-UUID: #")
}

// A channel that calls while it talks consults, too: the dialplan's att_xfer does that.
func TestStarCode(t *testing.T) {
	begin := talking + "CHANNEL_CREATE id=C of=B dir=outbound who=1003@pbx.test\nCHANNEL_PROGRESS id=C\n"
	consulting := []string{"Held 1002 hold consultation", "ServiceInitiated 1002 initiated consultation", "Originated 1002 connected newCall", "Delivered 1003 connected newCall"}
	cleared := "ConnectionCleared 1002 null normalClearing"
	for name, tt := range map[string]struct {
		events string
		want   []string // what 1002 hears
	}{
		"transferred":              {"CHANNEL_ANSWER id=C\nCHANNEL_BRIDGE id=C a=C b=A\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING variable_sip_term_status=200", []string{"Established 1003 connected newCall", "Transfered 1002 null transfer"}},
		"the telephone ends first": {"CHANNEL_ANSWER id=C\nCHANNEL_HANGUP id=B why=NORMAL_CLEARING variable_sip_term_status=200\nCHANNEL_BRIDGE id=C a=C b=A", []string{"Established 1003 connected newCall", "Transfered 1002 null transfer"}},
		"rejected":                 {"CHANNEL_HANGUP id=C why=USER_BUSY", []string{"Failed 1003 connected busy", "ConnectionCleared 1003 connected busy", cleared, "Retrieved 1002 connected normal"}},
		"connected again":          {"CHANNEL_ANSWER id=C\nCHANNEL_BRIDGE id=B a=B b=A\nCHANNEL_HANGUP id=C why=NORMAL_CLEARING", []string{"Established 1003 connected newCall", cleared, "Retrieved 1002 connected normal"}},
		"who waits hangs up":       {"CHANNEL_HANGUP id=A why=NORMAL_CLEARING variable_sip_term_status=200", []string{"ConnectionCleared 1001 hold normalClearing", cleared}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{}, "1002")
			tr.tell(begin)
			tr.hears("1002", append([]string{"Delivered 1002 alerting newCall", "Established 1002 connected newCall"}, consulting...)...)
			tr.tell(tt.events)
			tr.hears("1002", tt.want...)
		})
	}
}

// A call is established when FreeSWITCH has connected the two, not before: services act on both.
func TestEstablishedByBridge(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	tr.tell(calls1002 + "CHANNEL_ANSWER id=B of=A\nDTMF id=A DTMF-Digit=1\nCHANNEL_ANSWER id=A\nDTMF id=A DTMF-Digit=2\nCHANNEL_BRIDGE id=A a=A b=B\nDTMF id=A DTMF-Digit=3")
	digit := "DtmfDetected 1001  dTMFDigitDetected"
	tr.hears("1001", "ServiceInitiated 1001 initiated normal", "Originated 1001 connected newCall", "Delivered 1002 connected newCall",
		digit+"1", digit+"2", "Established 1002 connected newCall", digit+"3")
}

// A party that has waited, and that a device sends on, is the dialplan's: if nobody answers there, it goes on, such as to a
// voice mailbox.
func TestSentOnAfterConsultation(t *testing.T) {
	const unanswered = "CHANNEL_CREATE id=D of=B dir=outbound who=1004@pbx.test\nCHANNEL_PROGRESS id=D\nCHANNEL_HANGUP id=D why=NO_ANSWER\n"
	for name, do := range map[string]func(tr *trial, held, active uacsta.ConnectionID){
		"transferred while it rings": func(tr *trial, held, active uacsta.ConnectionID) {
			tr.tell(calls1003)
			tr.must(uacsta.TransferCall{HeldCall: held, ActiveCall: active})
			tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING\nCHANNEL_HANGUP id=C why=ORIGINATOR_CANCEL\n")
		},
		"transferred in a single step after alternating": func(tr *trial, held, active uacsta.ConnectionID) {
			tr.tell(has1003)
			tr.must(uacsta.AlternateCall{HeldCall: held, ActiveCall: active})
			tr.tell("CHANNEL_HANGUP id=C why=NORMAL_CLEARING variable_sip_term_status=200\n")
			tr.settle()
			tr.must(uacsta.SingleStepTransferCall{ActiveCall: held, TransferredTo: uacsta.Dev("1004")})
			tr.tell("CHANNEL_HANGUP id=A why=NORMAL_CLEARING\n")
		},
		"transferred by REFER after a call back": func(tr *trial, _, _ uacsta.ConnectionID) {
			tr.tell("CHANNEL_HANGUP id=A why=USER_BUSY")
			tr.settle()
			tr.tell("CHANNEL_CREATE id=E dir=outbound who=1001@pbx.test variable_csta_call=" + tr.made() + "\nCHANNEL_PROGRESS id=E\nCHANNEL_ANSWER id=E\nCHANNEL_BRIDGE id=E a=E b=B\n" +
				"CHANNEL_HANGUP id=E why=BLIND_TRANSFER variable_transfer_disposition=recv_replace variable_transfer_destination=blind:1004\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, LinkConfig{}, "1001", "1002")
			active := consulted(t, tr)
			do(tr, uacsta.Conn("A", "1001"), uacsta.Conn(active, "1001"))
			tr.tell(unanswered)
			tr.settle()
			tr.mu.Lock()
			defer tr.mu.Unlock()
			if !slices.Contains(tr.commands, released(&channel{id: "B"}).text) || slices.Contains(tr.commands, "api uuid_kill B") {
				t.Errorf("B is not released, or cleared:\n%s", strings.Join(tr.commands, "\n"))
			}
			if ch := tr.link.channels["B"]; ch == nil || ch.parks {
				t.Error("the link would clear B")
			}
		})
	}
}

// Who is transferred to a number outside while it rings calls what the telephone has called, and not what the gateway gets.
func TestTransferEarlyOutside(t *testing.T) {
	tr := newTrial(t, LinkConfig{}, "1001")
	tr.tell(talking)
	active := tr.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn("A", "1001"), ConsultedDevice: uacsta.Dev("0309876")}).Text("initiatedCall/callID")
	tr.tell("CHANNEL_CREATE id=C of=A dir=outbound to=309876 variable_sip_gateway_name=carrier\nCHANNEL_PROGRESS id=C\n")
	tr.must(uacsta.TransferCall{HeldCall: uacsta.Conn("A", "1001"), ActiveCall: uacsta.Conn(active, "1001")})
	tr.gives("api uuid_transfer B 0309876 XML default")
}
