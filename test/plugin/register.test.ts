import './register.cases.js'
import './register-app.cases.js'
import './register-close.cases.js'
import './close.cases.js'
