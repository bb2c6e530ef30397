import './notification-log.cases.js'
import './notification-publisher.cases.js'
