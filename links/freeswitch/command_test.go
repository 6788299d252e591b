package freeswitch

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A reader of commands that knows nothing of how they are written: it takes them apart as
// FreeSWITCH does, and is strict where FreeSWITCH guesses.

var errCommand = errors.New("no command that FreeSWITCH reads in one way")

// understood takes the octets of one command apart: its name, and each number, name or text in
// it, marked by what it is.
func understood(octets string) ([]string, error) {
	head, body, whole := strings.Cut(octets, "\n\n")
	lines := strings.Split(head, "\n")
	if !whole || strings.ContainsFunc(head, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
		return nil, errCommand
	}
	verb, rest, _ := strings.Cut(lines[0], " ")
	switch {
	case verb == "sendevent":
		return eventUnderstood(rest, lines[1:], body)
	case body != "":
		return nil, errCommand
	case verb == "event" && lines[0] == "event plain CHANNEL_EXECUTE_COMPLETE" && len(lines) == 1:
		return []string{"event"}, nil
	case verb == "bgapi" && len(lines) == 2 && strings.HasPrefix(rest, "originate ") && regexp.MustCompile(`^Job-UUID: [0-9a-f-]{36}$`).MatchString(lines[1]):
		return originateUnderstood(strings.TrimPrefix(rest, "originate "))
	case verb == "api" && len(lines) == 1:
		return apiUnderstood(rest)
	}
	return nil, errCommand
}

func eventUnderstood(name string, headers []string, body string) ([]string, error) {
	parts := []string{"sendevent", "event " + name}
	length := 0
	for _, line := range headers {
		key, value, ok := strings.Cut(line, ": ")
		if !ok || strings.Contains(value, "%") || strings.ContainsAny(key, " %") {
			return nil, errCommand
		}
		if key == "Content-Length" {
			length, _ = strconv.Atoi(value)
			continue
		}
		parts = append(parts, key+" "+value)
	}
	if length != len(body) {
		return nil, errCommand
	}
	return parts, nil
}

// arguments splits at blanks; what stands in apostrophes is one argument.
func split(text string) ([]string, error) {
	var list []string
	for text != "" {
		if quoted, ok := strings.CutPrefix(text, "'"); ok {
			inside, after, closed := strings.Cut(quoted, "'")
			if !closed || after != "" && after[0] != ' ' {
				return nil, errCommand
			}
			list, text = append(list, "'"+inside), strings.TrimPrefix(after, " ")
			continue
		}
		word, after, _ := strings.Cut(text, " ")
		if word == "" || strings.ContainsAny(word, `'"\`) {
			return nil, errCommand
		}
		list, text = append(list, word), after
	}
	return list, nil
}

// name reads what must be one name or number in any syntax.
func name(text string) (string, error) {
	if text == "" || text[0] == '-' || strings.ContainsAny(text, " ,'\"\\{}[]<>()|^$%&:;=/@!?`~\r\n\x00") {
		return "", fmt.Errorf("%w: %q", errCommand, text)
	}
	return text, nil
}

func originateUnderstood(text string) ([]string, error) {
	variables, rest, ok := strings.Cut(strings.TrimPrefix(text, "{"), "}")
	if !ok || !strings.HasPrefix(text, "{") {
		return nil, errCommand
	}
	parts := []string{"originate"}
	for _, v := range strings.Split(variables, ",") {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, errCommand
		}
		if _, err := name(value); err != nil {
			return nil, err
		}
		if key == "origination_caller_id_number" {
			parts = append(parts, "shows "+value)
		}
	}
	args, err := split(rest)
	if err != nil || len(args) < 2 {
		return nil, errCommand
	}
	user, domain, ok := strings.Cut(strings.TrimPrefix(args[0], "user/"), "@")
	if _, err := name(user); err != nil || !ok || domain != "pbx.test" || !strings.HasPrefix(args[0], "user/") {
		return nil, errCommand
	}
	parts = append(parts, "rings "+user)
	application := regexp.MustCompile(`^'?&[a-z_]+\(([^()]*)\)$`).FindStringSubmatch(args[1])
	inline := regexp.MustCompile(`^'unset:sip_h_Call-Info,[a-z_]+:([^:,^()]*)$`).FindStringSubmatch(args[1])
	switch {
	case len(args) == 2 && application != nil, len(args) == 3 && inline != nil && args[2] == "inline":
		return parts, nil
	case len(args) == 4 && args[2] == "XML" && args[3] == "default":
		to, err := name(args[1])
		return append(parts, "to "+to), err
	}
	return nil, errCommand
}

// apiUnderstood reads the commands of the API that the link gives.
func apiUnderstood(text string) ([]string, error) {
	args, err := split(text)
	if err != nil || len(args) < 2 {
		return nil, errCommand
	}
	parts := []string{args[0]}
	if args[0] == "db" {
		stored := strings.Split(args[1], "/")
		if len(args) != 2 || len(stored) != map[string]int{"select": 3, "delete": 3, "insert": 4}[stored[0]] {
			return nil, errCommand
		}
		for _, s := range stored {
			if _, err := name(s); err != nil {
				return nil, err
			}
		}
		return append(parts, strings.Join(stored, " ")), nil
	}
	shape := strings.Join(args, " ")
	for _, known := range []string{
		`uuid_(kill|answer|hold|phone_event|break|getvar|setvar|setvar_multi|bridge|record) .*`, `list_users user (\S+)`, `uuid_(?:recv|send)_dtmf \S+ ([0-9*#A-D]+)(@\d+)?`,
		`uuid_transfer \S+ (?:-bleg |-both )?(\S+) XML default`, `uuid_transfer \S+ (?:-bleg |-both )?conference:\S+@default inline`,
		`uuid_transfer \S+ (?:-bleg )?'valet_park:csta (\S+) inline`, `uuid_dual_transfer \S+ 'm:\^:execute_extension:(\S+) XML,inline:set:\w+=\w+ default\^park/inline park/inline`, `uuid_broadcast \S+ (\S+) aleg`,
	} {
		found := regexp.MustCompile(`^` + known + `$`).FindStringSubmatch(shape)
		if found == nil {
			continue
		}
		for _, number := range found[1:] {
			if _, err := name(strings.ReplaceAll(strings.TrimPrefix(number, "@"), "/", "")); number != "" && err != nil {
				return nil, err
			}
		}
		if len(found) > 1 {
			parts = append(parts, found[1])
		}
		return parts, nil
	}
	return nil, fmt.Errorf("%w: %q", errCommand, shape)
}

// writes are services, and what is meant by the command that each gives in the end, for two texts.
var writes = []struct {
	service func(a, b string) any
	means   func(a, b string) []string
}{
	{
		func(a, b string) any {
			return uacsta.MakeCall{CallingDevice: uacsta.Dev(a), CalledDirectoryNumber: uacsta.Dev(b)}
		}, func(a, b string) []string { return []string{"originate", "shows " + b, "rings " + a, "to " + b} },
	},
	{
		func(a, b string) any {
			return uacsta.MakePredictiveCall{CallingDevice: uacsta.Dev(a), CalledDirectoryNumber: uacsta.Dev(b)}
		}, func(a, b string) []string { return []string{"originate", "rings " + b, "to " + a} },
	},
	{
		func(a, _ string) any {
			return uacsta.DeflectCall{CallToBeDiverted: uacsta.Conn("R", "1006"), NewDestination: []uacsta.DeviceID{uacsta.Dev(a)}}
		}, func(a, _ string) []string { return []string{"uuid_transfer", a} },
	},
	{
		func(a, _ string) any {
			return uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn("A", "1001"), TransferredTo: uacsta.Dev(a)}
		}, func(a, _ string) []string { return []string{"uuid_transfer", a} },
	},
	{
		func(a, _ string) any {
			return uacsta.ConsultationCall{ExistingCall: uacsta.Conn("A", "1001"), ConsultedDevice: uacsta.Dev(a)}
		}, func(a, _ string) []string { return []string{"uuid_dual_transfer", a} },
	},
	{
		func(a, _ string) any {
			return uacsta.ParkCall{Parking: uacsta.Conn("A", "1001"), ParkTo: uacsta.Dev(a)}
		}, func(a, _ string) []string { return []string{"uuid_transfer", a} },
	},
	{
		func(a, _ string) any {
			return uacsta.DirectedPickupCall{CallToBePickedUp: uacsta.Conn("R", "1006"), RequestingDevice: uacsta.Dev(a)}
		}, func(a, _ string) []string { return []string{"originate", "shows 1005", "rings " + a} },
	},
	{
		func(a, _ string) any {
			return uacsta.GroupPickupCall{NewDestination: uacsta.Dev(a)}
		}, func(a, _ string) []string { return []string{"originate", "shows 1005", "rings " + a} },
	},
	{
		func(a, _ string) any {
			return uacsta.SingleStepConferenceCall{ActiveCall: uacsta.Conn("A", "1001"), DeviceToJoin: uacsta.Dev(a), ParticipationType: uacsta.ParticipationActive}
		}, func(a, _ string) []string { return []string{"originate", "shows 1001", "rings " + a} },
	},
	{
		func(a, _ string) any {
			return uacsta.GenerateDigits{ConnectionToSendDigits: uacsta.Conn("A", "1001"), CharactersToSend: a}
		}, func(a, _ string) []string { return []string{"uuid_recv_dtmf", a} },
	},
	{
		func(a, _ string) any {
			return uacsta.PlayMessage{OverConnection: uacsta.Conn("A", "1001"), MessageToBePlayed: a}
		}, func(a, _ string) []string { return []string{"uuid_broadcast", a} },
	},
	{
		func(a, b string) any {
			to := uacsta.Dev(b)
			return uacsta.SetForwarding{Device: uacsta.Dev(a), ForwardingType: uacsta.ForwardBusy, ActivateForward: true, ForwardDN: &to}
		}, func(a, b string) []string {
			return []string{"sendevent", "event PHONE_FEATURE", "profile internal", "user " + a, "host pbx.test", "device " + a, "Feature-Event ForwardingEvent", "forward_busy " + b, "forward_busy_enabled true"}
		},
	},
	{
		func(a, _ string) any {
			return uacsta.SetDoNotDisturb{Device: uacsta.Dev(a), DoNotDisturbOn: true}
		}, func(a, _ string) []string {
			return []string{"sendevent", "event PHONE_FEATURE", "profile internal", "user " + a, "host pbx.test", "device " + a, "Feature-Event DoNotDisturbEvent", "doNotDisturbOn true"}
		},
	},
	{
		func(a, _ string) any {
			return uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev(a), MessageWaitingOn: true}
		}, func(a, _ string) []string {
			return []string{"sendevent", "event MESSAGE_WAITING", "MWI-Messages-Waiting yes", "MWI-Message-Account sip:" + a + "@pbx.test"}
		},
	},
	{ // calls, and a telephone, that are named by what FreeSWITCH says
		func(a, _ string) any {
			return uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn("N", a)}
		}, func(a, _ string) []string { return []string{"originate", "rings " + a} },
	},
	{
		func(string, string) any {
			return uacsta.TransferCall{HeldCall: uacsta.Conn("H", "1008"), ActiveCall: uacsta.Conn("T", "1008")}
		}, func(a, _ string) []string { return []string{"uuid_transfer", a} },
	},
}

// FuzzCommands has a link carry out services with any texts in them, and in what FreeSWITCH says
// of calls. Each command that it writes is one, to a reader of its own; what it accepts is
// exactly what was asked for.
func FuzzCommands(f *testing.F) {
	for which := range writes {
		for _, text := range []string{
			"1003", "+49-89*#", "1003 XML default", "1003\n\nbgapi system x", "1003,sip_h_X=1", "a|b", "1003}user/2", "'1003'", "^^:1", "${x}", "%0A", "-both", "", "a/b", "A@b", "ÿ", "\x00",
		} {
			f.Add(uint8(which), text, "1004")
			f.Add(uint8(which), "1004", text)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, a, b string) {
		asked := writes[int(which)%len(writes)]
		m, err := uacsta.Parse(uacsta.Encode(asked.service(a, b), uacsta.Edition6).Bytes())
		if err != nil {
			return // no XML can say so
		}
		tr := newTrial(t, LinkConfig{Answer: AnswerAuto})
		var given [][]string
		tr.raw = func(octets string) {
			parts, err := understood(octets)
			if err != nil {
				t.Errorf("%q: %v", octets, err)
			}
			given = append(given, parts)
		}
		tr.database["group 1006"], tr.database["group "+a] = "7", "7"
		tr.tell(talking)
		tr.tell(strings.NewReplacer("=A", "=R", "=B", "=S", "1001", "1005", "1002", "1006").Replace(calls1002))
		tr.tell(strings.NewReplacer("=A", "=H", "=B", "=I", "1001", "1008", "1002", "1009").Replace(talking) + "CHANNEL_HOLD id=H")
		tr.names(a, b)
		tr.settle()
		tr.mu.Lock()
		given = nil
		tr.mu.Unlock()
		_, err = (&player{t: t, link: tr.link}).send(m)
		tr.settle()
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if want := asked.means(strings.TrimSpace(a), strings.TrimSpace(b)); err == nil && (len(given) == 0 || !slices.Equal(given[len(given)-1], want)) {
			t.Errorf("%q, %q is taken as %q, not %q", a, b, given, want)
		}
	})
}

// names tells of calls whose parties have any names: one that rings at a, and one of 1008 that
// rings at a beyond the network.
func (tr *trial) names(a, b string) {
	done := make(chan struct{})
	tr.link.inbox.Post(func() {
		defer close(done)
		for _, headers := range []map[string]string{
			{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "N", "Call-Direction": "inbound", "Channel-Presence-ID": "1007@pbx.test", "Caller-Destination-Number": b},
			{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "O", "Other-Leg-Unique-ID": "N", "Call-Direction": "outbound", "Channel-Presence-ID": a + "@pbx.test", "variable_sip_call_id": b},
			{"Event-Name": "CHANNEL_PROGRESS", "Unique-ID": "O"},
			{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "T", "Call-Direction": "inbound", "Channel-Presence-ID": "1008@pbx.test", "Caller-Destination-Number": a},
			{"Event-Name": "CHANNEL_CREATE", "Unique-ID": "U", "Other-Leg-Unique-ID": "T", "Call-Direction": "outbound", "Caller-Destination-Number": a},
			{"Event-Name": "CHANNEL_PROGRESS", "Unique-ID": "U"},
			{"Event-Name": "PHONE_FEATURE_SUBSCRIBE", "user": "1002", "call-id": a, "profile_name": b},
			{"Event-Name": "PHONE_FEATURE_SUBSCRIBE", "user": a, "call-id": b},
		} {
			tr.link.handle(event{headers: headers})
		}
	})
	<-done
}
