package pair

import (
	"testing"
	"time"

	"gateway/internal/zmtp"
)

func TestStatusListsWhoIsThere(t *testing.T) {
	s := newScene(t, Options{Mechanisms: []zmtp.Mechanism{zmtp.MechanismNull}, Affinity: AffinityIdentity, Wait: time.Minute, AffinityWait: time.Minute})
	worker := s.speak(Worker, zmtp.Options{SocketType: zmtp.DEALER})
	client := <-s.speak(Client, zmtp.Options{SocketType: zmtp.DEALER, Identity: []byte("anna")})
	served := <-worker
	if client.err != nil || served.err != nil {
		t.Fatalf("client %v, worker %v", client.err, served.err)
	}
	exchange(t, client.conn, served.conn)
	s.speak(Client, zmtp.Options{SocketType: zmtp.DEALER, Identity: []byte("bert")})
	s.stands(1, 0, 1)

	st := s.Status(10)
	if st.Parked != 0 || st.Waiting != 1 || st.Paired != 1 || len(st.Pairs) != 1 || len(st.Clients) != 1 || len(st.Identities) != 1 {
		t.Fatalf("%+v", st)
	}
	if p := st.Pairs[0]; p.Client != client.LocalAddr().String() || p.Identity != "anna" || p.Name != "127.0.0.2" || p.Handshake != HandshakeDone || p.In < 100 || p.Out < 40 {
		t.Errorf("pair %+v", p)
	}
	if c := st.Clients[0]; c.Identity != "bert" || c.Mechanism != "NULL" || c.For != "127.0.0.2" {
		t.Errorf("client %+v", c)
	}
	if id := st.Identities[0]; id != (IdentityStatus{Name: "127.0.0.2", Busy: 1, Wanted: 1}) {
		t.Errorf("identity %+v", id)
	}
	if st := s.Status(0); st.Waiting != 1 || len(st.Pairs)+len(st.Clients)+len(st.Identities) != 0 {
		t.Errorf("limit 0: %+v", st)
	}
	client.conn.Close()
	served.conn.Close()
	s.stands(1, 0, 0)
}
