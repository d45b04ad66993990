import org.zeromq.ZMQ;

/** A ZMTP 2 peer: JeroMQ 0.3.6. `req ENDPOINT COUNT` connects and asks, `rep ENDPOINT` binds and echoes. */
public class Peer {
    public static void main(String[] args) {
        ZMQ.Context context = ZMQ.context(1);
        if (args[0].equals("rep")) {
            ZMQ.Socket socket = context.socket(ZMQ.REP);
            socket.bind(args[1]);
            System.out.println("bound");
            while (true) {
                socket.send(socket.recv(0), 0);
            }
        }
        ZMQ.Socket socket = context.socket(ZMQ.REQ);
        socket.setReceiveTimeOut(20000);
        socket.connect(args[1]);
        for (int i = 0; i < Integer.parseInt(args[2]); i++) {
            socket.send("request " + i);
            String reply = socket.recvStr();
            System.out.println("reply " + reply);
            if (reply == null) {
                System.exit(1);
            }
        }
        System.exit(0);
    }
}
