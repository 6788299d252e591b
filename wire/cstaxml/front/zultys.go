package front

import (
	"fmt"
	"html"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// zultys is what the clients of Zultys' MX say beyond the standard: a login of their own, and a device without identifier that
// is the user's own.
type zultys struct {
	of *association

	mu        sync.Mutex
	user      string    // of the last loginRequest
	extension string    // of the user that has logged in; "": the user's name is no number
	device    string    // name that the client has given to the extension's telephone, by AssignDevice
	session   string    // identifier of the application session; "": there is none
	prolonged time.Time // when it was prolonged last
}

// betweenProlonging is the time after which a request prolongs the application session. A client that has other requests sends no
// keepalive.
const betweenProlonging = time.Minute

func newZultys(_ *Server, a *association) vocabulary { return &zultys{of: a} }

// editionOfZultys is what these clients speak.
const editionOfZultys uacsta.Edition = 4

// read implements vocabulary.
func (v *zultys) read(req *uacsta.Message) asked {
	if prolong := v.prolong(); prolong != nil {
		v.of.session.Request(prolong, func(*uacsta.Message) {})
	}
	return v.asks(req)
}

// prolong returns the request that prolongs the application session, or nil if it is not time for that.
func (v *zultys) prolong() *uacsta.Message {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session == "" || time.Since(v.prolonged) < betweenProlonging {
		return nil
	}
	v.prolonged = time.Now()
	return uacsta.Encode(uacsta.ResetApplicationSessionTimer{SessionID: v.session}, editionOfZultys)
}

// asks brings a request into the standard's form.
func (v *zultys) asks(req *uacsta.Message) asked {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch req.Name() {
	case "loginRequest":
		login := uacsta.Login{User: req.Text("userName"), Password: req.Text("pwd")}
		v.user = strings.Clone(login.User)
		return asked{req: uacsta.Encode(login.Opening("zultys", uacsta.LoginPlain, 0, editionOfZultys), editionOfZultys)}
	case "keepalive": // without a response
		return asked{req: req, own: v.silently(uacsta.ResetApplicationSessionTimer{SessionID: v.session})}
	case "logout":
		return asked{req: req, own: v.silently(uacsta.StopApplicationSession{
			SessionID: v.session, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"},
		})}
	case "AssignDevice": // which of the user's telephones calls: the switch knows one for each extension
		v.device = strings.Clone(req.Text("deviceID"))
		info := uacsta.NewMessage(req.Namespace(), "AssignDeviceInfo", "deviceID", req.Text("deviceID"))
		return asked{req: req, own: func(answer func(*uacsta.Message, error)) { answer(info, nil) }}
	case uacsta.NameMonitorStart:
		if v.extension != "" && req.Has("monitorObject/deviceObject") && req.Text("monitorObject/deviceObject") == "" {
			req.SetText("monitorObject/deviceObject", v.extension)
		}
	}
	for _, d := range req.Devices() {
		switch {
		case v.device != "" && d.ID() == v.device && v.extension != "":
			d.Set(v.extension, "")
		case d.Type() == "deviceID":
			d.Set(d.ID(), "")
		}
	}
	return asked{req: req}
}

// silently carries a request out by another, and answers nothing.
func (v *zultys) silently(other any) ownRequest {
	return func(answer func(*uacsta.Message, error)) {
		v.of.session.Request(uacsta.Encode(other, editionOfZultys), func(*uacsta.Message) { answer(nil, nil) })
	}
}

// write implements vocabulary.
func (v *zultys) write(m *uacsta.Message) *uacsta.Message {
	v.mu.Lock()
	defer v.mu.Unlock()
	var document string
	switch m.Name() {
	case uacsta.NameStartApplicationSessionPosResponse:
		v.session, v.extension, v.device, v.prolonged = strings.Clone(m.Text("sessionID")), "", "", time.Now()
		if plainNumber.MatchString(v.user) {
			v.extension = v.user
		}
		document = fmt.Sprintf(`<loginResponce sn="tr87proxy" ext="%s" userId="%s" apiversion="3"/>`, html.EscapeString(v.extension), html.EscapeString(v.session))
	case uacsta.NameStartApplicationSessionNegResponse:
		document = fmt.Sprintf(`<loginFailed Code="2" sn="tr87proxy" apiversion="3">%s</loginFailed>`, html.EscapeString(m.Text("errorCode/definedError")+m.Text("errorCode/applError")))
	default:
		return m
	}
	if own, err := uacsta.Parse([]byte(document)); err == nil {
		return own
	}
	return m
}

// left implements vocabulary.
func (v *zultys) left() (returns bool) { return false }
