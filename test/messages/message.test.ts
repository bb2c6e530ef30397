import './message.cases.js'
import './message-end.cases.js'
import './message-fence.cases.js'
import './message-stream.cases.js'
