import './subscriber.cases.js'
import './subscriber-order.cases.js'
import './subscriber-viewers.cases.js'
