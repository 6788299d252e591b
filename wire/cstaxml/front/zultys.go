package front

import (
	"fmt"
	"html"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// zultys is what the clients of Zultys' MX say beyond the standard: a login of their own, and a device without identifier that
// is the user's own.
type zultys struct {
	mu        sync.Mutex
	user      string // of the last loginRequest
	extension string // of the user that has logged in; "": the user's name is no number
	session   string // identifier of the application session
}

func newZultys() vocabulary { return &zultys{} }

// editionOfZultys is what these clients speak.
const editionOfZultys uacsta.Edition = 4

// read implements vocabulary.
func (v *zultys) read(session *proxy.Session, req *uacsta.Message) (*uacsta.Message, ownRequest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch req.Name() {
	case "loginRequest":
		login := uacsta.Login{User: req.Text("userName"), Password: req.Text("pwd")}
		v.user = strings.Clone(login.User)
		return uacsta.Encode(login.Opening("zultys", uacsta.LoginPlain, 0, editionOfZultys), editionOfZultys), nil
	case "keepalive": // without a response
		return req, silently(session, uacsta.ResetApplicationSessionTimer{SessionID: v.session})
	case "logout":
		return req, silently(session, uacsta.StopApplicationSession{
			SessionID: v.session, SessionEndReason: uacsta.SessionEndReason{DefinedEndReason: "normal"},
		})
	case "AssignDevice": // which of the user's telephones calls: the switch knows one for each extension
		info := uacsta.NewMessage(req.Namespace(), "AssignDeviceInfo", "deviceID", req.Text("deviceID"))
		return req, func(answer func(*uacsta.Message, error)) { answer(info, nil) }
	case uacsta.NameMonitorStart:
		if v.extension != "" && req.Has("monitorObject/deviceObject") && req.Text("monitorObject/deviceObject") == "" {
			req.SetText("monitorObject/deviceObject", v.extension)
		}
	}
	for _, d := range req.Devices() {
		if d.Type() == "deviceID" {
			d.Set(d.ID(), "")
		}
	}
	return req, nil
}

// silently carries a request out by another, and answers nothing.
func silently(session *proxy.Session, other any) ownRequest {
	return func(answer func(*uacsta.Message, error)) {
		session.Request(uacsta.Encode(other, editionOfZultys), func(*uacsta.Message) { answer(nil, nil) })
	}
}

// write implements vocabulary.
func (v *zultys) write(m *uacsta.Message) *uacsta.Message {
	v.mu.Lock()
	defer v.mu.Unlock()
	var document string
	switch m.Name() {
	case uacsta.NameStartApplicationSessionPosResponse:
		v.session, v.extension = strings.Clone(m.Text("sessionID")), ""
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
